"""The figures of an evaluation. Each is a function of sums over sentences, so that resampling them is a product.

`sums_of` makes a row of numbers of each record; `figures` takes the sum of any such rows.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from lisa_core.metrics import PRECISION_THRESHOLDS
from lisa_core.records import SampleRecord

CALIBRATION_BINS = 10
"""Bins of the predicted score, equally wide."""
GUESSES = ("blank", "swapped", "centre_blob", "largest_object")
"""What can be drawn without reading the sentence itself; swapped: for another sentence of the picture."""

LABELS = {
    "giou": "gIoU",
    "ciou": "cIoU",
    "giou_epsilon": "gIoU, I/(U+epsilon)",
    "miou": "mIoU, targets only",
    **{f"precision_{t}": f"P@{t}" for t in PRECISION_THRESHOLDS},
    "boundary_iou": "boundary IoU",
    "n_acc": "N-acc, nothing to find",
    "t_acc": "T-acc, something to find",
    "grefcoco_giou": "gIoU as gRefCOCO",
    "calibration_error": "calibration error of the score",
    "score_bias": "score minus IoU",
    "instance_precision": "instance precision",
    "instance_recall": "instance recall",
    "instance_f1": "instance F1",
    "instance_pq": "panoptic quality of instances",
    "answered": "sentences answered with a mask",
    "listening": "listening accuracy",
    "blank_giou": "gIoU, sentence blanked",
    "swapped_giou": "gIoU, sentence swapped for another object's",
    "centre_blob_giou": "gIoU, always the centre blob",
    "largest_object_giou": "gIoU, always the largest object",
}
"""Every figure's name, in the order in which they are shown."""
LESS_IS_BETTER = ("calibration_error",)
"""Figures of which 0 is the best."""
NO_VERDICT = ("score_bias", "blank_giou", "swapped_giou", "centre_blob_giou", "largest_object_giou")
"""Figures of which more is neither better nor worse."""


def worth_showing(names: Collection[str]) -> list[str]:
    """The figures that say something where these are known, in the order of `LABELS`."""
    # Where there always is something to find, gRefCOCO's gIoU is gIoU.
    idle = () if "n_acc" in names else ("t_acc", "grefcoco_giou")
    return [name for name in LABELS if name in names and name not in idle]


_BINNED = [f"{what}_{k}" for k in range(CALIBRATION_BINS) for what in ("scored", "score", "score_iou")]
COLUMNS = [
    *("n", "iou", "intersection", "union", "iou_epsilon"),
    *(f"hit_{t}" for t in PRECISION_THRESHOLDS),
    *("targets", "target_iou", "target_right", "empty", "empty_right", "gref_iou"),
    *("edges", "edge_iou", "answered", "listening_hits", "listening_pairs"),
    *(f"{name}{what}" for name in GUESSES for what in ("", "_iou")),
    *("matched", "objects", "drawn", "found", "found_iou"),
    *_BINNED,
]
"""What is summed."""


def sums_of(records: Sequence[SampleRecord], epsilon: float | None = None, no_target_pixels: int = 1) -> np.ndarray:
    """A row for each record, float64 [N,len(COLUMNS)].

    Args:
        records: N sentences.
        epsilon: added to each union in `giou_epsilon`, as LISA's code adds 1e-5; None: there is no such figure.
        no_target_pixels: gRefCOCO's figures take a mask with fewer pixels for the answer "there is none".
    """
    return np.array([_row(record, epsilon, no_target_pixels) for record in records]).reshape(-1, len(COLUMNS))


def total_of(rows: np.ndarray) -> np.ndarray:
    """Sums of the rows, float64 [len(COLUMNS)], rounded once: the order of the records cannot matter."""
    return np.array([math.fsum(column) for column in rows.T.tolist()])


def figures(sums: np.ndarray) -> dict[str, np.ndarray]:
    """All figures of sums [...,len(COLUMNS)] as arrays [...]; NaN where there is nothing that a figure is about."""
    of = {name: sums[..., k] for k, name in enumerate(COLUMNS)}
    scored = np.sum([of[f"scored_{k}"] for k in range(CALIBRATION_BINS)], axis=0)
    surplus = np.array([of[f"score_{k}"] - of[f"score_iou_{k}"] for k in range(CALIBRATION_BINS)])
    # Nothing to find and nothing found is right; NaN is for sums over no sentence at all.
    ciou = np.where((of["union"] == 0) & (of["n"] > 0), 1.0, _quotient(of["intersection"], of["union"]))
    return {
        "giou": _quotient(of["iou"], of["n"]),
        "ciou": ciou,
        "giou_epsilon": _quotient(of["iou_epsilon"], of["n"]),
        "miou": _quotient(of["target_iou"], of["targets"]),
        **{f"precision_{t}": _quotient(of[f"hit_{t}"], of["n"]) for t in PRECISION_THRESHOLDS},
        "boundary_iou": _quotient(of["edge_iou"], of["edges"]),
        "n_acc": _quotient(of["empty_right"], of["empty"]),
        "t_acc": _quotient(of["target_right"], of["targets"]),
        "grefcoco_giou": _quotient(of["gref_iou"], of["n"]),
        "calibration_error": _quotient(np.abs(surplus).sum(0), scored),
        "score_bias": _quotient(surplus.sum(0), scored),
        "instance_precision": _quotient(of["found"], of["drawn"]),
        "instance_recall": _quotient(of["found"], of["objects"]),
        "instance_f1": _quotient(2 * of["found"], of["drawn"] + of["objects"]),
        "instance_pq": _quotient(2 * of["found_iou"], of["drawn"] + of["objects"]),
        "answered": _quotient(of["answered"], of["n"]),
        "listening": _quotient(of["listening_hits"], of["listening_pairs"]),
        **{f"{name}_giou": _quotient(of[f"{name}_iou"], of[name]) for name in GUESSES},
    }


def calibration_bins(total: np.ndarray) -> list[tuple[int, float, float]]:
    """For each bin of the score: how many sentences, their mean score and their mean IoU (0, 0 without any).

    Args:
        total: what `total_of` returned.
    """
    of = dict(zip(COLUMNS, total.tolist()))
    counts = [int(of[f"scored_{k}"]) for k in range(CALIBRATION_BINS)]
    return [(n, of[f"score_{k}"] / max(n, 1), of[f"score_iou_{k}"] / max(n, 1)) for k, n in enumerate(counts)]


def _row(record: SampleRecord, epsilon: float | None, no_target_pixels: int) -> list[float]:
    iou, has_target = record.iou, record.truth_pixels > 0
    found_none = record.predicted_pixels < no_target_pixels or record.predicted_pixels == 0
    gref_iou = float(found_none) if not has_target else 0.0 if found_none else iou
    row = dict.fromkeys(COLUMNS, 0.0)
    row |= {
        "n": 1,
        "iou": iou,
        "intersection": record.intersection,
        "union": record.union,
        "iou_epsilon": _with_epsilon(record, epsilon),
        **{f"hit_{t}": float(iou > t) for t in PRECISION_THRESHOLDS},
        "targets": has_target,
        "target_iou": iou if has_target else 0.0,
        "target_right": has_target and not found_none,
        "empty": not has_target,
        "empty_right": not has_target and found_none,
        "gref_iou": gref_iou,
        "answered": record.answered,
        "listening_hits": record.listening_hits,
        "listening_pairs": record.listening_pairs,
    }
    if record.boundary_iou is not None:
        row |= {"edges": 1, "edge_iou": record.boundary_iou}
    for name in GUESSES:
        if name in record.blind:
            row |= {name: 1, f"{name}_iou": record.blind[name]}
    if record.instances is not None:
        found = record.instances
        row |= {"matched": 1, "objects": found.objects, "drawn": found.drawn}
        row |= {"found": found.found, "found_iou": found.iou}
    if record.score is not None:
        k = min(int(record.score * CALIBRATION_BINS), CALIBRATION_BINS - 1)
        row |= {f"scored_{k}": 1, f"score_{k}": record.score, f"score_iou_{k}": iou}
    return list(row.values())


def _with_epsilon(record: SampleRecord, epsilon: float | None) -> float:
    if epsilon is None:
        return math.nan
    return record.intersection / (record.union + epsilon) if record.union else 1.0


def _quotient(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    empty = bottom == 0
    quotient: np.ndarray = np.where(empty, np.nan, top / np.where(empty, 1, bottom))
    return quotient
