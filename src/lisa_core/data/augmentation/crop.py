"""Cut-outs of pictures that hold every target whole, for sentences that say nothing of place, size or number."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from lisa_core.data.augmentation.claims import compares, names_extent, names_place, names_size
from lisa_core.data.augmentation.shown import cut, targets_box, texts
from lisa_core.data.base import Example

SMALLEST_CROP = 0.5
"""Least share of the picture's width, and of its height, that a cut-out keeps."""


def may_cut(examples: Sequence[Example]) -> bool:
    """Whether every text stays true of a part of the picture that holds all targets."""
    return not any(names_place(t) or names_size(t) or names_extent(t) or compares(t) for t in texts(examples))


def crop(examples: Sequence[Example], rng: Random) -> list[Example] | None:
    """A random part of the picture, all targets whole in it; None where the words or the targets leave no choice."""
    if not may_cut(examples):
        return None
    width, height = examples[0].image.size
    box = targets_box(examples) or (0, 0, 0, 0)
    left, right = _span(box[0], box[2], width, rng)
    upper, lower = _span(box[1], box[3], height, rng)
    if (right - left, lower - upper) == (width, height):
        return None
    return cut(examples, (left, upper, right, lower))


def _span(start: int, stop: int, length: int, rng: Random) -> tuple[int, int]:
    """A random stretch of 0..length that holds start..stop."""
    extent = rng.randint(max(stop - start, round(SMALLEST_CROP * length), 1), length)
    first = rng.randint(max(stop - extent, 0), min(start, length - extent)) if stop else rng.randint(0, length - extent)
    return first, first + extent
