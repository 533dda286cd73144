"""How well masks match their truths, as LISA's evaluation defines it, and whether a model listens to the sentence.

Everything is counted at the original resolution. Ignored pixels leave both the intersection and the union. Pixel counts
are exact integers and the mean is a correctly rounded float64 sum, so the order of the masks and the way they are
shared among processes never change a result.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lisa_core.types import IGNORE

PRECISION_THRESHOLDS = (0.5, 0.7, 0.9)
"""The t of P@t."""

SAME_OBJECT_IOU = 0.5
"""Two truths that overlap at least this much name the same object."""


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
    truth = _truth(target)
    ignored = target == IGNORE
    if not np.all(truth | ignored | (target == 0)):
        raise ValueError(f"a target holds only 0, 1 and {IGNORE}, not {np.unique(target).tolist()}")
    intersection = np.count_nonzero(pred & truth)
    union = np.count_nonzero((pred | truth) & ~ignored)
    return int(intersection), int(union)


def iou(pred: np.ndarray, target: np.ndarray) -> float:
    """Intersection over union of one mask in 0..1; 1.0 when the union is empty. See `intersection_union`."""
    return _ratio(*intersection_union(pred, target))


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
        intersection, union = intersection_union(pred, target)
        self.intersection += intersection
        self.union += union
        self.ious.append(_ratio(intersection, union))
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
            ciou=_ratio(self.intersection, self.union),
            precision={t: sum(value > t for value in self.ious) / n for t in PRECISION_THRESHOLDS},
            n=n,
        )


def listening_pairs(preds: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> tuple[int, int]:
    """Hits and pairs of the listening accuracy among the sentences of ONE image.

    A pair is two sentences (a, b), in this order, whose truths are not empty and name different objects (the truths'
    IoU is below 0.5). It is a hit when the mask for a fits a's truth better than b's. Strictly better: a model that
    answers every sentence with nothing, or with something apart from both objects, ties 0 to 0 and has shown no
    listening. A model that gives one mask for all sentences can win at most one of (a, b) and (b, a), so a deaf one
    scores 50% at best.

    Args:
        preds: bool [H,W] each, one per sentence.
        targets: uint8 [H,W] each, one per sentence in the same order.

    Returns:
        How many pairs were hits, and how many pairs there were (0 when the image has no two different objects).

    Raises:
        ValueError: the two lists differ in length, or as `intersection_union`.
    """
    if len(preds) != len(targets):
        raise ValueError(f"{len(preds)} predictions do not go with {len(targets)} targets")
    hits = pairs = 0
    for a, target_a in enumerate(targets):
        for b, target_b in enumerate(targets):
            if a != b and _different_objects(target_a, target_b):
                pairs += 1
                hits += iou(preds[a], target_a) > iou(preds[a], target_b)
    return hits, pairs


def centre_blob(h: int, w: int) -> np.ndarray:
    """Sentence-blind baseline: an ellipse in the middle, a quarter of the picture's area, as bool [h,w].

    Raises:
        ValueError: a side is below one pixel.
    """
    if h < 1 or w < 1:
        raise ValueError(f"a mask needs at least one pixel, not {h}x{w}")
    y = (np.arange(h) + 0.5) / h - 0.5  # pixel centres in -0.5..0.5
    x = (np.arange(w) + 0.5) / w - 0.5
    blob: np.ndarray = y[:, None] ** 2 + x[None, :] ** 2 <= 1 / (4 * math.pi)  # pi r^2 = 1/4
    return blob


def largest_object(targets: Sequence[np.ndarray]) -> np.ndarray:
    """Sentence-blind baseline: the largest object that any sentence of ONE image describes, as bool [H,W].

    It knows the truths, so it is a stronger guess than a model that ignores the sentence could make.

    Args:
        targets: uint8 [H,W] each, one per sentence; the first of equally large ones is taken.

    Raises:
        ValueError: there is no target, or their shapes differ.
    """
    if not targets or len({np.shape(target) for target in targets}) > 1:
        raise ValueError(f"need targets of one image and one shape, got {[np.shape(target) for target in targets]}")
    return max((_truth(target) for target in targets), key=np.count_nonzero)


def _different_objects(target_a: np.ndarray, target_b: np.ndarray) -> bool:
    """Whether two truths are not empty and overlap too little to be one object; pixels either ignores do not count."""
    truth_a, truth_b = _truth(target_a), _truth(target_b)
    if not truth_a.any() or not truth_b.any():
        return False
    counted = np.where(np.asarray(target_a) == IGNORE, IGNORE, target_b)
    return iou(truth_a, counted) < SAME_OBJECT_IOU


def _truth(target: np.ndarray) -> np.ndarray:
    """Bool [H,W]: where the target is."""
    truth: np.ndarray = np.asarray(target) == 1
    return truth


def _ratio(intersection: int, union: int) -> float:
    """IoU from the two counts; nothing to find and nothing found is a perfect answer."""
    return intersection / union if union else 1.0
