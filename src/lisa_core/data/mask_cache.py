"""Masks that were painted before, kept in memory as run lengths: outlines are read and painted once, not each epoch."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from lisa_core.types import IGNORE

_MOST_BYTES = 2**28


class MaskCache:
    """Masks by name, losslessly compressed; once they take as much memory as they may, no more are added.

    Args:
        most_bytes: of run lengths, in each process that has the cache.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES) -> None:
        self.most_bytes = most_bytes
        self._bytes = 0
        self._kept: dict[Hashable, list[tuple[int, Any]]] = {}

    def get(self, key: Hashable) -> np.ndarray | None:
        """The mask uint8 [H,W] that was put in under this name, a new array each time; None: there is none."""
        lengths = self._kept.get(key)
        if lengths is None:
            return None
        mask = np.zeros(lengths[0][1]["size"], dtype=np.uint8)
        for value, of_value in lengths:
            mask[coco_mask.decode(of_value).view(bool)] = value
        return mask

    def put(self, key: Hashable, mask: np.ndarray) -> None:
        """Keep a mask uint8 [H,W] of 0, 1 and 255 (ignored), if there is room."""
        lengths = [(value, coco_mask.encode(np.asfortranarray(mask == value, dtype=np.uint8))) for value in (1, IGNORE)]
        size = sum(len(of_value["counts"]) for _, of_value in lengths)
        if key not in self._kept and self._bytes + size <= self.most_bytes:
            self._kept[key] = lengths
            self._bytes += size
