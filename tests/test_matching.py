from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lisa_core.matching import InstanceCounts, assign, match_instances
from lisa_core.types import IGNORE

gains = st.one_of(st.floats(-10, 10), st.sampled_from([0.0, 1.0, 2.0]))


@given(hnp.arrays(np.float64, st.tuples(st.integers(0, 5), st.integers(0, 5)), elements=gains))
def test_no_assignment_gains_more(gain):
    n, m = gain.shape
    pairs = assign(gain)
    assert len(pairs) == min(n, m) == len({row for row, _ in pairs}) == len({column for _, column in pairs})
    if n <= m:
        best = max(
            sum(gain[row, column] for row, column in enumerate(order)) for order in itertools.permutations(range(m), n)
        )
    else:
        best = max(
            sum(gain[row, column] for column, row in enumerate(order)) for order in itertools.permutations(range(n), m)
        )
    assert sum(gain[pair] for pair in pairs) == pytest.approx(best, abs=1e-9)


def test_a_large_assignment_that_is_known():
    rng = np.random.default_rng(0)
    order = rng.permutation(60)
    gain = rng.random((60, 80))
    gain[np.arange(60), order] += 2
    assert assign(gain) == list(enumerate(order.tolist()))


def bar(start: int, end: int, ignored: slice = slice(0, 0)) -> np.ndarray:
    mask = np.zeros((1, 40), np.uint8)
    mask[0, start:end] = 1
    mask[0, ignored] = IGNORE
    return mask


def test_masks_and_objects_by_hand():
    objects = [bar(0, 10), bar(20, 30)]
    drawn = [bar(20, 28) == 1, bar(0, 4) == 1, bar(0, 10) == 1, bar(0, 0) == 1]
    assert match_instances(drawn, objects) == InstanceCounts(objects=2, drawn=3, found=2, iou=0.8 + 1.0)
    assert match_instances([bar(0, 5) == 1], objects).found == 0, "an IoU of 0.5 is not above it"
    assert match_instances([bar(0, 10) == 1] * 2, objects[:1]) == InstanceCounts(1, 2, 1, 1.0), "found once"
    assert match_instances([], objects) == InstanceCounts(2, 0, 0, 0.0)
    assert match_instances(drawn, []) == InstanceCounts(0, 3, 0, 0.0)
    assert match_instances([bar(0, 20) == 1], [bar(0, 10, slice(10, 20))]) == InstanceCounts(1, 1, 1, 1.0)


def test_a_pair_below_the_threshold_takes_no_object_from_one_above():
    # Summed IoU alone would match both masks with the other object: 0.5 + 0.5 > 0.6 + 1/7.
    a, b = bar(0, 6), bar(5, 10)
    found = match_instances([bar(0, 10) == 1, bar(3, 6) == 1], [a, b])
    assert (found.found, found.iou) == (1, 0.6)
