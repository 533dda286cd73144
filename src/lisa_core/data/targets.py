"""What examples' answers draw: their masks, as the squares that a batch compares logits with."""

from __future__ import annotations

import functools
from collections.abc import Hashable, Sequence

import numpy as np
import torch
from torch import Tensor

from lisa_core.data.base import Example
from lisa_core.prompts import declines
from lisa_core.types import IGNORE


def targets_of(example: Example, several: bool) -> list[np.ndarray]:
    """The masks that an example's answer draws, uint8 [H,W] each.

    Args:
        example: decoded.
        several: whether an answer may draw more than one; else it draws their union.
    """
    if example.sample.kind == "text" or (several and declines_to_draw(example)):
        return []
    return example.masks if several and example.sample.kind == "masks" and example.masks else [example.mask]


def declines_to_draw(example: Example) -> bool:
    """Whether the answer says in words that there is no such object."""
    return example.sample.kind == "mask" and example.sample.no_target and declines(example.wording)


def first_of_each(targets: Tensor, valid: Tensor, places: Sequence[Hashable]) -> list[int]:
    """Which masks are the first of their target: those in one place that are the same mean the same thing.

    But for empty ones: what is not there may be two things.

    Args:
        targets: [M,s,s].
        valid: [M,s,s], the share of each cell that counts.
        places: of each mask, such as its picture.

    Returns:
        Their numbers, ascending.
    """
    firsts: dict[Hashable, int] = {}
    for number, (target, counted, place) in enumerate(zip(targets, valid, places)):
        same = (place, target.numpy().tobytes(), counted.numpy().tobytes())
        firsts.setdefault(same if target.any() else number, number)
    return list(firsts.values())


def target_raster(mask: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """A mask squashed to a square by area.

    Args:
        mask: uint8 [H,W] of 0, 1 and 255 (ignored).
        size: cells a side.

    Returns:
        target: float32 [size,size], the share of each cell's counted pixels that are target;
        valid: float32 [size,size], the share of each cell's pixels that count.
    """
    target, counted = mask == 1, mask != IGNORE
    share = _mean_by_area(target, size)
    if counted.all():
        return share, torch.ones(size, size)
    valid = _mean_by_area(counted, size)
    return share / valid.clamp(min=1e-6), valid


def _mean_by_area(values: np.ndarray, size: int) -> Tensor:
    """Means of bool [H,W] over size x size windows, the ones of torch's "area" interpolation; float32 [size,size].

    As two products of matrices, over no more than the box that is True, which is many times as fast.
    """
    rows, columns = (_windows(size, length) for length in values.shape)
    box = tuple(_extent(np.logical_or.reduce(values, axis)) for axis in (1, 0))
    inside = torch.from_numpy(values[box]).float()
    sums = rows[:, box[0]] @ inside @ columns[:, box[1]].T  # whole numbers, so the mean of equal values is exact
    return sums / (rows.sum(1)[:, None] * columns.sum(1))


def _extent(there: np.ndarray) -> slice:
    """From the first to the last True of a vector; empty if there is none."""
    places = np.flatnonzero(there)
    return slice(places[0], places[-1] + 1) if len(places) else slice(0, 0)


@functools.lru_cache(maxsize=256)
def _windows(size: int, length: int) -> Tensor:
    """Which of `length` values each of the `size` windows over them holds, float32 [size,length] of 0 and 1."""
    edges, places = torch.arange(size + 1), torch.arange(length)
    start, stop = edges[:-1] * length // size, (edges[1:] * length + size - 1) // size
    return ((places >= start[:, None]) & (places < stop[:, None])).float()
