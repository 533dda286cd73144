"""Whether a model listens to the sentence: its masks compared among the sentences of one picture, and blind guesses."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

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
    compared = compare_sentences(preds, targets)
    return sum(one.hits for one in compared), sum(one.pairs for one in compared)


@dataclass(frozen=True)
class Compared:
    """A sentence's mask beside those of the other sentences of its picture that are about other objects."""

    hits: int
    """Pairs (this sentence, another) that are hits; see `listening_pairs`."""
    pairs: int
    """Such pairs, 0 if the picture has no other object."""
    swapped: float | None
    """Mean IoU of its truth with the masks drawn for the others: what it scores when its sentence is exchanged for one
    that means something else. Near 0 for a model that goes by the words, as good as its own for one that does not. None
    without others."""


def compare_sentences(preds: Sequence[np.ndarray], targets: Sequence[np.ndarray]) -> list[Compared]:
    """Each sentence of ONE picture against the others; args and errors as for `listening_pairs`."""
    if len(preds) != len(targets):
        raise ValueError(f"{len(preds)} predictions do not go with {len(targets)} targets")
    count = range(len(targets))
    others = [[b for b in count if a != b and _different_objects(targets[a], targets[b])] for a in count]
    # Of mask a with the truths of the others; seen from b, what b's truth has of mask a.
    across = [{b: iou(preds[a], targets[b]) for b in others[a]} for a in count]
    compared = []
    for a in count:
        own = iou(preds[a], targets[a]) if others[a] else 0.0
        exchanged = [across[b][a] for b in others[a]]
        compared.append(
            Compared(
                hits=sum(own > value for value in across[a].values()),
                pairs=len(others[a]),
                swapped=math.fsum(exchanged) / len(exchanged) if exchanged else None,
            )
        )
    return compared


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
