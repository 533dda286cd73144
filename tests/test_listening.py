from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.listening import centre_blob, compare_sentences, largest_object, listening_pairs
from lisa_core.metrics import IGNORE, MetricAccumulator


def square(x: int, size: int = 2, h: int = 4, w: int = 12) -> np.ndarray:
    """uint8 [4,12] with a square whose left edge is at x."""
    mask = np.zeros((h, w), np.uint8)
    mask[:size, x : x + size] = 1
    return mask


def test_listening_perfect_swapped_deaf_and_silent() -> None:
    targets = [square(0), square(4), square(8)]
    truths = [target == 1 for target in targets]
    assert listening_pairs(truths, targets) == (6, 6)
    assert listening_pairs([truths[1], truths[2], truths[0]], targets) == (0, 6), "third objects tie 0 to 0"
    assert listening_pairs([truths[1], truths[0]], targets[:2]) == (0, 2)
    assert listening_pairs([truths[0], truths[0]], targets[:2]) == (1, 2), "one answer for all gets half"
    assert listening_pairs([np.zeros((4, 12), bool)] * 3, targets) == (0, 6), "0 to 0 is a miss"


def test_listening_of_each_sentence_adds_up() -> None:
    targets = [square(0), square(4), square(8)]
    truths = [target == 1 for target in targets]
    compared = compare_sentences([truths[0], truths[0], truths[2]], targets)
    assert [(one.hits, one.pairs) for one in compared] == [(2, 2), (0, 2), (2, 2)]


def test_listening_tie_between_both_objects_is_a_miss() -> None:
    targets = [square(0), square(4)]
    assert listening_pairs([np.ones((4, 12), bool)] * 2, targets) == (0, 2)


def test_listening_counts_only_different_and_described_objects() -> None:
    truth = square(0) == 1
    assert listening_pairs([truth, truth], [square(0), square(0)]) == (0, 0), "two phrasings of one object"
    assert listening_pairs([truth, truth], [square(0), np.zeros((4, 12), np.uint8)]) == (0, 0)
    assert listening_pairs([truth], [square(0)]) == (0, 0)
    assert listening_pairs([], []) == (0, 0)
    wider = np.zeros((4, 12), np.uint8)
    wider[:2, :4] = 1  # IoU with the square is 4 / 8: still the same object, the limit is below 0.5
    assert listening_pairs([truth, wider == 1], [square(0), wider]) == (0, 0)
    wider[2, 0] = 1  # 4 / 9
    assert listening_pairs([truth, wider == 1], [square(0), wider]) == (2, 2)


def test_listening_leaves_out_what_either_truth_ignores() -> None:
    a, b = square(0), np.zeros((4, 12), np.uint8)
    b[:2, :6] = 1  # IoU 4 / 12 with a ...
    a[:2, 2:6] = IGNORE  # ... until the rest of b does not count
    assert listening_pairs([a == 1, b == 1], [a, b]) == (0, 0)
    assert listening_pairs([b == 1, a == 1], [b, a]) == (0, 0)


def test_listening_needs_a_target_per_prediction() -> None:
    with pytest.raises(ValueError, match="2 predictions"):
        listening_pairs([square(0) == 1] * 2, [square(0)])


@given(st.integers(8, 90), st.integers(8, 90))
def test_centre_blob_is_a_centred_quarter(h: int, w: int) -> None:
    blob = centre_blob(h, w)
    assert blob.shape == (h, w)
    assert blob.dtype == np.bool_
    assert np.array_equal(blob, blob[::-1, ::-1])
    assert not blob[0].any()
    assert not blob[:, 0].any()
    assert blob.mean() == pytest.approx(0.25, abs=0.1)


def test_centre_blob_needs_a_pixel() -> None:
    assert centre_blob(1, 1).all()
    with pytest.raises(ValueError, match="0x4"):
        centre_blob(0, 4)


def test_largest_object_is_the_largest_truth_and_ignores_ignored_pixels() -> None:
    small, large = square(0), square(4, size=3)
    small[3] = IGNORE
    largest = largest_object([small, large, square(0)])
    assert largest.dtype == np.bool_
    assert np.array_equal(largest, large == 1)
    accumulator = MetricAccumulator()
    assert accumulator.update(largest, large) == 1.0
    assert accumulator.update(largest, square(0)) == 0.0


def test_largest_object_needs_targets_of_one_shape() -> None:
    with pytest.raises(ValueError, match="targets of one image"):
        largest_object([])
    with pytest.raises(ValueError, match="one shape"):
        largest_object([square(0), square(0, h=5)])
