"""Several masks for one sentence against several objects: each mask is matched with at most one object."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lisa_core.metrics import iou

MATCH_IOU = 0.5
"""A mask has found an object if their IoU is above this, as in panoptic quality (arXiv:1801.00868)."""


@dataclass(frozen=True)
class InstanceCounts:
    """What came of matching the masks of one sentence."""

    objects: int
    """How many there were to find."""
    drawn: int
    """How many masks there were; empty ones are none."""
    found: int
    """Pairs whose IoU is above `MATCH_IOU`."""
    iou: float
    """Sum of these pairs' IoU."""


def match_instances(preds: Sequence[np.ndarray], objects: Sequence[np.ndarray]) -> InstanceCounts:
    """Match masks with objects so that the summed IoU of the pairs found is largest.

    Args:
        preds: bool [H,W] each.
        objects: uint8 [H,W] each, of 0, 1 and 255 (ignored); those without a pixel are none.

    Raises:
        ValueError: as `intersection_union`.
    """
    preds = [pred for pred in preds if pred.any()]
    objects = [truth for truth in objects if (np.asarray(truth) == 1).any()]
    ious = np.array([[iou(pred, truth) for truth in objects] for pred in preds]).reshape(len(preds), len(objects))
    ious[ious <= MATCH_IOU] = 0  # a pair that counts for nothing must not keep one that counts from being made
    pairs = assign(ious)
    found = [float(ious[row, column]) for row, column in pairs if ious[row, column] > 0]
    return InstanceCounts(len(objects), len(preds), len(found), float(sum(found)))


def assign(gain: np.ndarray) -> list[tuple[int, int]]:
    """The assignment of rows to columns with the largest summed gain (the Hungarian method, O(n^3)).

    Args:
        gain: finite float [N,M].

    Returns:
        min(N, M) pairs of row and column, by row.
    """
    n, m = gain.shape
    if n > m:
        return sorted((row, column) for column, row in assign(gain.T))
    cost = -np.asarray(gain, dtype=np.float64)
    row_price, column_price = np.zeros(n), np.zeros(m)
    owner = np.full(m, -1)  # the row that each column is assigned to
    for start in range(n):
        # The cheapest path, by reduced costs, from the new row over columns that are taken to one that is free.
        distance, before = np.full(m, np.inf), np.full(m, -1)
        done = np.zeros(m, dtype=bool)
        row, column, length = start, -1, 0.0
        while True:
            step = length + cost[row] - row_price[row] - column_price
            nearer = ~done & (step < distance)
            distance[nearer], before[nearer] = step[nearer], column
            column = int(np.where(done, np.inf, distance).argmin())
            length = float(distance[column])
            if owner[column] < 0:
                break
            done[column] = True
            row = int(owner[column])
        # Prices keep all reduced costs at zero or above, and those of assigned pairs at zero.
        row_price[start] += length
        row_price[owner[done]] += length - distance[done]
        column_price[done] -= length - distance[done]
        while column >= 0:
            previous = int(before[column])
            owner[column] = start if previous < 0 else owner[previous]
            column = previous
    return sorted((int(owner[column]), column) for column in range(m) if owner[column] >= 0)
