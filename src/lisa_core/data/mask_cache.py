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
        self._kept: dict[Hashable, tuple[Any, Any]] = {}

    def get(self, key: Hashable) -> np.ndarray | None:
        """The mask uint8 [H,W] that was put in under this name, a new array each time; None: there is none."""
        if key not in self._kept:
            return None
        target, ignored = self._kept[key]
        mask = np.ascontiguousarray(coco_mask.decode(target))
        if ignored is not None:
            mask[coco_mask.decode(ignored).view(bool)] = IGNORE
        return mask

    def put(self, key: Hashable, mask: np.ndarray) -> None:
        """Keep a mask uint8 [H,W] of 0, 1 and 255 (ignored), if there is room."""
        ignored = mask == IGNORE
        lengths = (_encode(mask == 1), _encode(ignored) if ignored.any() else None)
        size = sum(len(one["counts"]) for one in lengths if one is not None)
        if key not in self._kept and self._bytes + size <= self.most_bytes:
            self._kept[key] = lengths
            self._bytes += size


def _encode(mask: np.ndarray) -> Any:
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
