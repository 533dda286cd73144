"""Boundary IoU: how well the edge of a mask fits (Cheng et al., arXiv:2103.16562), where IoU sees the area alone."""

from __future__ import annotations

import math

import numpy as np

from lisa_core.metrics import intersection_union, truth_of
from lisa_core.types import IGNORE

DILATION_RATIO = 0.02
"""Width of the edge as a share of the picture's diagonal, as in the paper's reference implementation."""


def boundary_counts(pred: np.ndarray, target: np.ndarray, ratio: float = DILATION_RATIO) -> tuple[int, int]:
    """Pixels in both edges, and in either; the boundary IoU is their quotient, 1 where there is no edge at all.

    Ignored pixels are taken out of both masks before their edges are looked for, so that a prediction that is right
    everywhere else has the truth's edge there too.

    Args:
        pred: bool [H,W].
        target: uint8 [H,W] of 0, 1 and 255 (ignored).
        ratio: width of the edge as a share of the diagonal, at least one pixel.

    Raises:
        ValueError: as `intersection_union`.
    """
    intersection_union(pred, target)
    counted = np.asarray(target) != IGNORE
    width = max(1, round(ratio * math.hypot(*counted.shape)))
    drawn, wanted = inner_edge(pred & counted, width), inner_edge(truth_of(target), width)
    return int(np.count_nonzero(drawn & wanted)), int(np.count_nonzero(drawn | wanted))


def inner_edge(mask: np.ndarray, width: int) -> np.ndarray:
    """Bool [H,W]: the mask's pixels nearer than `width` pixels (chessboard distance) to one that is not in the mask.

    Beyond the picture there is no mask, so a mask that is cut off has an edge there.
    """
    rows, columns = mask.any(1).nonzero()[0], mask.any(0).nonzero()[0]
    edge = np.zeros_like(mask)
    if rows.size:  # only the mask's own box can hold an edge
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        inside = mask[box]
        edge[box] = inside & ~_full_windows(_full_windows(inside, width, 0), width, 1)
    return edge


def _full_windows(mask: np.ndarray, width: int, axis: int) -> np.ndarray:
    """Where all of the 2*width + 1 pixels around are in the mask, along one axis: erosion by a line."""
    pad = [(0, 0), (0, 0)]
    pad[axis] = (width + 1, width)
    sums = np.pad(mask, pad).cumsum(axis, dtype=np.int32)
    window = 2 * width + 1
    ends, starts = np.moveaxis(sums, axis, 0)[window:], np.moveaxis(sums, axis, 0)[:-window]
    full: np.ndarray = np.moveaxis(ends - starts == window, 0, axis)
    return full
