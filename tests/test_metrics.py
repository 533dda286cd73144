from __future__ import annotations

import json
import pickle
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lisa_core.metrics import IGNORE, MetricAccumulator, intersection_union, iou


@st.composite
def mask_pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """A prediction and a target of one shape; wholly empty, full and ignored ones are drawn often."""
    shape = draw(st.tuples(st.integers(1, 7), st.integers(1, 7)))
    bools = st.one_of(st.sampled_from([False, True]).map(lambda v: np.full(shape, v)), hnp.arrays(np.bool_, shape))
    labels = st.sampled_from([0, 1, IGNORE])
    targets = st.one_of(labels.map(lambda v: np.full(shape, v, np.uint8)), hnp.arrays(np.uint8, shape, elements=labels))
    return draw(bools), draw(targets)


def count_pixels(pred: np.ndarray, target: np.ndarray) -> tuple[int, int]:
    """The definition, pixel by pixel."""
    intersection = union = 0
    for row_pred, row_target in zip(pred.tolist(), target.tolist(), strict=True):
        for p, t in zip(row_pred, row_target, strict=True):
            if t == 255:
                continue
            intersection += p and t == 1
            union += p or t == 1
    return intersection, union


def scored(pairs: list[tuple[np.ndarray, np.ndarray]]) -> MetricAccumulator:
    accumulator = MetricAccumulator()
    for pred, target in pairs:
        accumulator.update(pred, target)
    return accumulator


@given(st.lists(mask_pairs(), min_size=1, max_size=8))
def test_metrics_equal_an_independent_computation(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    metrics = scored(pairs).compute()
    counts = [count_pixels(*pair) for pair in pairs]
    exact = [Fraction(i, u) if u else Fraction(1) for i, u in counts]
    intersection, union = sum(i for i, _ in counts), sum(u for _, u in counts)
    assert metrics.n == len(pairs)
    assert metrics.giou == pytest.approx(float(sum(exact) / len(exact)), abs=1e-15)
    assert metrics.ciou == (float(Fraction(intersection, union)) if union else 1.0)
    for threshold, share in ((Fraction(1, 2), 0.5), (Fraction(7, 10), 0.7), (Fraction(9, 10), 0.9)):
        assert metrics.precision[share] == sum(value > threshold for value in exact) / len(exact)


def test_large_random_masks_equal_a_confusion_matrix() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        h, w = rng.integers(50, 200, 2)
        pred = rng.random((h, w)) > rng.random()
        target = rng.choice(np.array([0, 1, IGNORE], np.uint8), (h, w), p=[0.5, 0.3, 0.2])
        table = np.bincount(2 * np.where(target == IGNORE, 2, target).ravel() + pred.ravel(), minlength=6)
        assert intersection_union(pred, target) == (table[3], table[1] + table[2] + table[3])


@given(mask_pairs())
def test_iou_bounds_and_fixed_points(pair: tuple[np.ndarray, np.ndarray]) -> None:
    pred, target = pair
    assert 0.0 <= iou(pred, target) <= 1.0
    assert iou(target == 1, target) == 1.0
    assert iou(pred | (target == IGNORE), target) == iou(pred & (target != IGNORE), target)


@given(st.lists(mask_pairs(), min_size=1, max_size=12), st.data())
def test_order_and_sharing_among_processes_change_nothing(
    pairs: list[tuple[np.ndarray, np.ndarray]], data: st.DataObject
) -> None:
    whole = scored(pairs).compute()
    shuffled = data.draw(st.permutations(pairs))
    cut = data.draw(st.integers(0, len(pairs)))
    first, second = scored(shuffled[:cut]), scored(shuffled[cut:])
    before = second.compute() if second.ious else None
    first.merge(pickle.loads(pickle.dumps(second)))
    assert first.compute() == whole
    assert before is None or second.compute() == before


def test_hand_worked_set() -> None:
    full, empty = np.ones((1, 10), bool), np.zeros((1, 10), bool)
    half = np.array([[1] * 5 + [0] * 5], np.uint8)
    accumulator = MetricAccumulator()
    assert accumulator.update(full, half) == 0.5
    assert accumulator.update(empty, half) == 0.0
    assert accumulator.update(empty, np.zeros((1, 10), np.uint8)) == 1.0
    assert accumulator.update(full, np.full((1, 10), IGNORE, np.uint8)) == 1.0
    metrics = accumulator.compute()
    assert metrics.giou == 2.5 / 4
    assert metrics.ciou == 5 / 15
    assert metrics.precision == {0.5: 0.5, 0.7: 0.5, 0.9: 0.5}, "an IoU of exactly 0.5 is not above 0.5"
    expected = {"giou": 0.625, "ciou": 1 / 3, "precision": {"0.5": 0.5, "0.7": 0.5, "0.9": 0.5}, "n": 4}
    assert json.loads(json.dumps(metrics.to_dict())) == expected


def test_all_unions_empty_counts_one() -> None:
    metrics = scored([(np.zeros((2, 2), bool), np.zeros((2, 2), np.uint8))]).compute()
    assert (metrics.giou, metrics.ciou) == (1.0, 1.0)


def test_nothing_scored_is_an_error() -> None:
    with pytest.raises(ValueError, match="no mask"):
        MetricAccumulator().compute()


@pytest.mark.parametrize(
    ("pred", "target", "message"),
    [
        (np.zeros((2, 3), bool), np.zeros((3, 2), np.uint8), "shape"),
        (np.zeros(4, bool), np.zeros(4, np.uint8), "shape"),
        (np.zeros((1, 2, 3), bool), np.zeros((1, 2, 3), np.uint8), "shape"),
        (np.zeros((2, 2), np.float32), np.zeros((2, 2), np.uint8), "bool"),
        (np.zeros((2, 2), bool), np.full((2, 2), 2, np.uint8), r"only 0, 1 and 255, not \[2\]"),
    ],
)
def test_bad_masks_are_refused_and_not_counted(pred: np.ndarray, target: np.ndarray, message: str) -> None:
    accumulator = MetricAccumulator()
    with pytest.raises(ValueError, match=message):
        accumulator.update(pred, target)
    assert accumulator == MetricAccumulator()
