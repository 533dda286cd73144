"""Whether a model listens to the sentence: its masks compared among the sentences of one picture, and blind guesses."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from lisa_core.metrics import iou, truth_of
from lisa_core.types import IGNORE

SAME_OBJECT_IOU = 0.5
"""Two truths that overlap at least this much name the same object."""


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
    counts = listening_by_sentence(preds, targets)
    return sum(hits for hits, _ in counts), sum(pairs for _, pairs in counts)


def listening_by_sentence(preds: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> list[tuple[int, int]]:
    """For each sentence a, the hits and pairs (a, b) that it is the first of; see `listening_pairs`."""
    if len(preds) != len(targets):
        raise ValueError(f"{len(preds)} predictions do not go with {len(targets)} targets")
    counts = []
    for a, target_a in enumerate(targets):
        others = [b for b, target_b in enumerate(targets) if a != b and _different_objects(target_a, target_b)]
        own = iou(preds[a], target_a) if others else 0.0
        counts.append((sum(own > iou(preds[a], targets[b]) for b in others), len(others)))
    return counts


def swapped_ious(preds: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> list[float | None]:
    """For each sentence of ONE picture, the mean IoU of its truth with the masks drawn for sentences about others.

    What a mask scores when its sentence is exchanged for one that means something else: near 0 for a model that goes by
    the words, as good as its own for one that does not. None for a sentence whose picture has no other object.

    Args and errors as for `listening_pairs`.
    """
    if len(preds) != len(targets):
        raise ValueError(f"{len(preds)} predictions do not go with {len(targets)} targets")
    means: list[float | None] = []
    for a, target in enumerate(targets):
        others = [b for b, other in enumerate(targets) if a != b and _different_objects(target, other)]
        means.append(math.fsum(iou(preds[b], target) for b in others) / len(others) if others else None)
    return means


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
    return max((truth_of(target) for target in targets), key=np.count_nonzero)


def _different_objects(target_a: np.ndarray, target_b: np.ndarray) -> bool:
    """Whether two truths are not empty and overlap too little to be one object; pixels either ignores do not count."""
    truth_a, truth_b = truth_of(target_a), truth_of(target_b)
    if not truth_a.any() or not truth_b.any():
        return False
    counted = np.where(np.asarray(target_a) == IGNORE, IGNORE, target_b)
    return iou(truth_a, counted) < SAME_OBJECT_IOU
