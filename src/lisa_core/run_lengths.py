"""COCO run lengths back to masks, checked: they may come from anywhere, and what does not fit must not be drawn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def rle_to_mask(rle: Any) -> np.ndarray:
    """Bool [H,W] from COCO run lengths, down the columns, background first.

    Args:
        rle: `{"size": [H, W], "counts": ...}`, the counts a list or COCO's compressed text.

    Raises:
        ValueError: in a few words, if that is no mask.
    """
    height, width = rle_size(rle)
    counts = rle.get("counts")
    if isinstance(counts, str):
        counts = decompress(counts)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("its counts are neither COCO's text nor a list of whole numbers from 0")
    if sum(counts) != height * width:
        raise ValueError(f"its counts sum up to {sum(counts)}, but {height} x {width} is {height * width}")
    values = np.arange(len(counts)) % 2 == 1
    mask: np.ndarray = np.repeat(values, counts).reshape(width, height).T
    return np.ascontiguousarray(mask)


def rle_size(rle: Any) -> tuple[int, int]:
    """Height and width; raises ValueError if there are none."""
    size = rle.get("size") if isinstance(rle, dict) else None
    if not isinstance(size, list) or len(size) != 2 or not all(type(side) is int and side > 0 for side in size):
        raise ValueError('it must be {"size": [H, W], "counts": ...}')
    return size[0], size[1]


def decompress(text: str) -> list[int]:
    """The counts that COCO's text stands for.

    Each character holds six bits above `0`: five of a number's, the lowest first, and one that says whether more
    follow. From the fourth number on, the difference to the last but one is written.

    Raises:
        ValueError: if it is no such text.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{character!r} is no character of COCO's run lengths")
        value |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:  # the sign
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("its counts break off")
    return counts


def union_of(masks: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Where any of some bool [H,W] masks is; empty without one."""
    union: np.ndarray = np.any([np.zeros(shape, dtype=bool), *masks], axis=0)
    return union
