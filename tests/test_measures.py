from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from lisa_core.matching import InstanceCounts
from lisa_core.measures import LABELS, calibration_bins, figures, sums_of, total_of
from lisa_core.metrics import intersection_union
from lisa_core.records import SampleRecord, metrics_of


def record(intersection: int, truth: int, predicted: int, **changes) -> SampleRecord:
    fields = {
        "index": 0,
        "id": "a#0",
        "text": "the red ring",
        "is_sentence": False,
        "image": "a.jpg",
        "picture": "a#0",
        "source": "made up",
        "counted_pixels": 1000,
    }
    union = truth + predicted - intersection
    return SampleRecord(
        **{**fields, **changes}, intersection=intersection, union=union, truth_pixels=truth, predicted_pixels=predicted
    )


def of(records, **settings) -> dict[str, float]:
    return {name: float(value) for name, value in figures(total_of(sums_of(records, **settings))).items()}


def test_giou_and_ciou_are_lisa_s_on_ten_thousand_random_masks():
    """Against the published definition, computed from label maps: classes by `==`, ignored pixels dropped first."""
    rng = np.random.default_rng(20230801)
    records, terms, sum_i, sum_u, without_union = [], [], 0, 0, 0
    for number in range(10_000):
        shape = rng.integers(1, 24, 2)
        pred = rng.random(shape) < rng.choice([0, 0.02, 0.5, 1], p=[0.2, 0.1, 0.6, 0.1])
        labels = [0.05, 0.9, 0.05] if number % 3 else [0.6, 0.3, 0.1]
        truth = rng.choice(np.array([1, 0, 255], np.uint8), shape, p=labels)
        if number % 5 == 0:
            truth[truth == 1] = 0  # nothing to find
        if number % 97 == 0:
            truth[:] = 255
        inter, union = intersection_union(pred, truth)
        counted = truth != 255
        records.append(
            record(inter, int((truth == 1).sum()), int((pred & counted).sum()), counted_pixels=int(counted.sum()))
        )
        assert records[-1].union == union
        # The formula: mean of I/(U+1e-5), U=0 counted 1; summed I over summed U.
        p, t = pred.ravel()[truth.ravel() != 255].astype(int), truth.ravel()[truth.ravel() != 255].astype(int)
        i, u = int(p @ t), int(np.sign(p + t).sum())
        terms.append(1.0 if u == 0 else i / (u + 1e-5))
        without_union += u == 0
        sum_i, sum_u = sum_i + i, sum_u + u
    assert without_union > 300
    found = of(records, epsilon=1e-5)
    assert found["giou_epsilon"] == math.fsum(terms) / 10_000
    assert found["ciou"] == sum_i / sum_u
    # The exact variant differs by what the 1e-5 takes away, and is what training reports.
    exact = metrics_of(records)
    assert found["giou"] == exact.giou and found["ciou"] == exact.ciou
    assert 0 < found["giou"] - found["giou_epsilon"] < 1e-5
    assert of(records, epsilon=0.0)["giou_epsilon"] == found["giou"]


def test_figures_by_hand():
    records = [
        record(50, 100, 50),  # 0.5
        record(90, 100, 100),  # 90 / 110
        record(0, 0, 0),  # nothing to find, nothing found
        record(0, 0, 30),  # something found where there is nothing
        record(0, 40, 0, answered=False),  # missed
    ]
    found = of(records)
    ious = [0.5, 90 / 110, 1, 0, 0]
    assert found["giou"] == pytest.approx(sum(ious) / 5, abs=1e-15)
    assert found["ciou"] == 140 / (100 + 110 + 0 + 30 + 40)
    assert found["miou"] == pytest.approx((0.5 + 90 / 110 + 0) / 3)
    assert (found["n_acc"], found["t_acc"]) == (1 / 2, 2 / 3)
    assert found["grefcoco_giou"] == found["giou"], "without a smallest size the two are one"
    assert (found["precision_0.5"], found["precision_0.7"], found["precision_0.9"]) == (2 / 5, 2 / 5, 1 / 5)
    assert found["answered"] == 4 / 5
    for name in ("boundary_iou", "calibration_error", "listening", "blank_giou", "instance_f1"):
        assert math.isnan(found[name]), "what was not measured is not a number"


def test_grefcoco_takes_a_few_pixels_for_none():
    records = [record(0, 0, 49), record(20, 40, 20), record(0, 0, 50), record(0, 0, 60)]
    found = of(records, no_target_pixels=50)
    assert (found["n_acc"], found["t_acc"], found["grefcoco_giou"]) == (1 / 3, 0.0, 1 / 4)
    assert found["giou"] == pytest.approx(0.5 / 4), "LISA's gIoU knows of no such threshold"


def test_calibration_against_a_loop():
    rng = np.random.default_rng(1)
    scores, hits = rng.random(500), rng.integers(0, 101, 500)
    scores[:3] = 0, 1, 0.1
    records = [record(int(i), 100, int(i), score=float(s)) for s, i in zip(scores, hits)]
    bins = [[k for k, s in enumerate(scores) if (b / 10 <= s < (b + 1) / 10) or (b == 9 and s == 1)] for b in range(10)]
    expected = sum(abs(np.mean(scores[b]) - np.mean(hits[b] / 100)) * len(b) / 500 for b in bins)
    found = of([*records, record(10, 100, 10)])  # one without a score is left out
    assert found["calibration_error"] == pytest.approx(expected)
    assert found["score_bias"] == pytest.approx(np.mean(scores - hits / 100))
    drawn = calibration_bins(total_of(sums_of(records)))
    assert [n for n, _, _ in drawn] == [len(b) for b in bins]
    assert drawn[4][1:] == pytest.approx((np.mean(scores[bins[4]]), np.mean(hits[bins[4]] / 100)))
    certain = [record(80, 100, 80, score=0.8), record(0, 100, 0, score=0.0)]
    assert of(certain)["calibration_error"] == 0


def test_instances_edges_listening_and_guesses_by_hand():
    records = [
        record(
            1,
            2,
            2,
            instances=InstanceCounts(2, 3, 2, 1.8),
            boundary_intersection=1,
            boundary_union=4,
            blind={"blank": 0.5},
        ),
        record(1, 2, 2, instances=InstanceCounts(2, 0, 0, 0.0), boundary_intersection=0, boundary_union=0),
        record(1, 2, 2, listening_hits=1, listening_pairs=4, blind={"blank": 0.25, "centre_blob": 1.0}),
    ]
    found = of(records)
    assert (found["instance_precision"], found["instance_recall"]) == (2 / 3, 2 / 4)
    assert found["instance_f1"] == pytest.approx(4 / 7) and found["instance_pq"] == pytest.approx(1.8 / 3.5)
    assert found["boundary_iou"] == (0.25 + 1.0) / 2
    assert found["listening"] == 1 / 4
    assert (found["blank_giou"], found["centre_blob_giou"]) == (0.375, 1.0)


def test_everything_that_is_computed_has_a_name_and_any_sums_will_do():
    rows = sums_of([record(50, 100, 50), record(0, 0, 0)])
    both = figures(np.stack([rows.sum(0), rows[0], np.zeros_like(rows[0])]))
    assert set(both) == set(LABELS)
    assert both["giou"][:2].tolist() == [0.75, 0.5] and np.isnan(both["giou"][2]) and np.isnan(both["ciou"][2])
    assert float(figures(rows[1])["ciou"]) == 1.0
    assert Fraction(float(both["ciou"][0])) == Fraction(50, 100)


def test_a_record_as_json_and_back():
    made = record(50, 100, 60, instances=InstanceCounts(1, 1, 1, 0.9), score=0.5, blind={"blank": 0.5})
    assert SampleRecord.from_dict(made.to_dict()) == made
    assert made.to_dict()["iou"] == made.iou == 50 / 110
    assert made.words == 3 and made.mask_share == 0.1
    with pytest.raises(TypeError):
        SampleRecord.from_dict({**made.to_dict(), "colour": 1})
    with pytest.raises(TypeError, match="`intersection` must be a whole number from 0, not -1"):
        SampleRecord.from_dict({**made.to_dict(), "intersection": -1})
    for wrong in ({"union": 111}, {"intersection": 101}):
        with pytest.raises(ValueError, match="a#0 contradict"):
            SampleRecord.from_dict({**made.to_dict(), **wrong})
