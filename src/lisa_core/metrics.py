"""How well masks match their truths, as LISA's evaluation defines it.

Everything is counted at the original resolution. Ignored pixels leave both the intersection and the union. Pixel counts
are exact integers and the mean is a correctly rounded float64 sum, so the order of the masks and the way they are
shared among processes never change a result.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lisa_core.types import IGNORE

PRECISION_THRESHOLDS = (0.5, 0.7, 0.9)
"""The t of P@t."""


def intersection_union(pred: np.ndarray, target: np.ndarray) -> tuple[int, int]:
    """Pixels in both masks and pixels in either, ignored pixels left out of both counts.

    Args:
        pred: bool [H,W], logit > 0.
        target: uint8 [H,W] of 0 background, 1 target and 255 ignored (bool [H,W] when nothing is ignored).

    Raises:
        ValueError: the shapes differ or are not [H,W], `pred` is not bool, or the target holds another value.
    """
    pred, target = np.asarray(pred), np.asarray(target)
    if pred.shape != target.shape or pred.ndim != 2:
        raise ValueError(f"prediction and target must share one shape [H,W], not {pred.shape} and {target.shape}")
    if pred.dtype != np.bool_:
        # Logits or a 0/255 picture would count as a mask that is true wherever it is not exactly zero.
        raise ValueError(f"the prediction must be bool (logit > 0), not {pred.dtype}")
    truth = truth_of(target)
    ignored = target == IGNORE
    if not np.all(truth | ignored | (target == 0)):
        raise ValueError(f"a target holds only 0, 1 and {IGNORE}, not {np.unique(target).tolist()}")
    intersection = np.count_nonzero(pred & truth)
    union = np.count_nonzero((pred | truth) & ~ignored)
    return int(intersection), int(union)


def iou(pred: np.ndarray, target: np.ndarray) -> float:
    """Intersection over union of one mask in 0..1; 1.0 when the union is empty. See `intersection_union`."""
    return ratio(*intersection_union(pred, target))


@dataclass(frozen=True)
class SegmentationMetrics:
    """What a set of masks scored."""

    giou: float
    """gIoU: mean of the per-mask IoU; a mask whose union is empty counts 1.0."""
    ciou: float
    """cIoU: summed intersection over summed union, which favours large objects; 1.0 when all unions are empty."""
    precision: dict[float, float]
    """P@t for each threshold t: share of the masks with IoU > t (strictly, as in the referring-segmentation papers)."""
    n: int
    """How many masks were scored."""

    def to_dict(self) -> dict[str, Any]:
        """The values as JSON takes them; the thresholds become strings: `{"precision": {"0.5": ...}}`."""
        precision = {str(threshold): share for threshold, share in self.precision.items()}
        return {"giou": self.giou, "ciou": self.ciou, "precision": precision, "n": self.n}


@dataclass
class MetricAccumulator:
    """Collects masks one by one; plain data, so processes can pickle theirs, gather and `merge` them exactly."""

    ious: list[float] = field(default_factory=list)
    """IoU of each mask so far."""
    intersection: int = 0
    """Pixels in both masks, summed."""
    union: int = 0
    """Pixels in either mask, summed."""

    def update(self, pred: np.ndarray, target: np.ndarray) -> float:
        """Add one mask (pred bool [H,W], target uint8 [H,W]) and return its IoU; raises like `intersection_union`."""
        return self.add(*intersection_union(pred, target))

    def add(self, intersection: int, union: int) -> float:
        """Add one mask that was counted already, and return its IoU."""
        self.intersection += intersection
        self.union += union
        self.ious.append(ratio(intersection, union))
        return self.ious[-1]

    def merge(self, other: MetricAccumulator) -> None:
        """Add all that another accumulator collected; `other` is not changed."""
        self.ious.extend(other.ious)
        self.intersection += other.intersection
        self.union += other.union

    def compute(self) -> SegmentationMetrics:
        """The metrics of all masks so far.

        Raises:
            ValueError: no mask was added; a mean of nothing would read as a score.
        """
        n = len(self.ious)
        if n == 0:
            raise ValueError("no mask was scored, so there are no metrics to compute")
        return SegmentationMetrics(
            giou=math.fsum(self.ious) / n,  # fsum is rounded once, at its end: the order of the masks cannot matter
            ciou=ratio(self.intersection, self.union),
            precision={t: sum(value > t for value in self.ious) / n for t in PRECISION_THRESHOLDS},
            n=n,
        )


def truth_of(target: np.ndarray) -> np.ndarray:
    """Bool [H,W]: where the target is."""
    truth: np.ndarray = np.asarray(target) == 1
    return truth


def ratio(intersection: int, union: int) -> float:
    """IoU from the two counts; nothing to find and nothing found is a perfect answer."""
    return intersection / union if union else 1.0
