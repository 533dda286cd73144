from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lisa_core.boundary import boundary_counts, inner_edge
from lisa_core.types import IGNORE


def edge_by_definition(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels of the mask from which some place within `width` steps (king's moves) is not in the mask."""
    h, w = mask.shape
    edge = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        around = [(y + dy, x + dx) for dy in range(-width, width + 1) for dx in range(-width, width + 1)]
        edge[y, x] = not all(0 <= v < h and 0 <= u < w and mask[v, u] for v, u in around)
    return edge


@given(hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12))), st.integers(1, 4), st.integers(0, 3))
def test_the_edge_is_as_the_paper_defines_it(mask, width, grow):
    mask = mask.repeat(grow + 1, 0).repeat(grow + 1, 1)  # with an inside, too
    assert np.array_equal(inner_edge(mask, width), edge_by_definition(mask, width))


def test_the_edge_of_a_square_by_hand():
    mask = np.zeros((9, 9), bool)
    mask[1:8, 1:8] = True
    assert (
        inner_edge(mask, 1).sum() == 49 - 25 and inner_edge(mask, 2).sum() == 49 - 9 and inner_edge(mask, 9).sum() == 49
    )
    assert inner_edge(np.ones((9, 9), bool), 1).sum() == 81 - 49, "a mask cut off by the picture has an edge there"
    assert not inner_edge(np.zeros((9, 9), bool), 3).any()


def test_a_shift_that_iou_hardly_sees_is_seen():
    truth = np.zeros((200, 200), np.uint8)
    truth[20:180, 20:180] = 1
    shifted = np.roll(truth, 3, axis=1) == 1
    # The edge is round(0.02 * 282.8) = 6 pixels wide: two frames of 160, 3 pixels apart.
    own = 160**2 - 148**2
    both = 2 * 6 * 157 + 2 * 148 * 3  # bars above and below overlap over 157, those at the sides over 3 of 6 pixels
    assert boundary_counts(shifted, truth) == (both, 2 * own - both)
    assert boundary_counts(truth == 1, truth) == (own, own)


def test_ignored_pixels_and_empty_masks():
    truth = np.zeros((60, 60), np.uint8)
    truth[10:50, 10:50] = 1
    truth[:, 30:40] = IGNORE
    over = (truth == 1) | (truth == IGNORE)
    same, either = boundary_counts(over, truth)
    assert same == either > 0
    nothing = np.zeros((60, 60), bool)
    assert boundary_counts(nothing, np.zeros((60, 60), np.uint8)) == (0, 0)
    assert boundary_counts(nothing, truth)[0] == 0 < boundary_counts(nothing, truth)[1]


def test_bad_masks_are_refused():
    with pytest.raises(ValueError, match="bool"):
        boundary_counts(np.zeros((2, 2)), np.zeros((2, 2), np.uint8))
