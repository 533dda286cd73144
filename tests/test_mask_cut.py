"""The cut makes the mask with the best expected IoU, found here by trying every set of cells."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.mask_cut import expected_iou_cut

LOGITS = st.lists(st.floats(-8, 8, width=32), min_size=6, max_size=6)


def expected_iou(logits: torch.Tensor, cells: tuple[int, ...], temperature: float) -> float:
    probability = (logits / temperature).sigmoid()
    overlap = probability[list(cells)].sum()
    return float(overlap / (len(cells) + probability.sum() - overlap))


@given(st.lists(LOGITS, min_size=1, max_size=3), st.sampled_from([1.0, 2.0, 5.0]))
def test_no_set_of_cells_has_a_better_one(rows, temperature):
    maps = torch.tensor(rows, dtype=torch.float32)
    cuts = expected_iou_cut(maps.view(-1, 2, 3), temperature)
    for logits, cut in zip(maps, cuts):
        taken = tuple(torch.nonzero(logits > cut)[:, 0].tolist())
        every = (cells for count in range(1, 7) for cells in combinations(range(6), count))
        best = max(expected_iou(logits, cells, temperature) for cells in every)
        assert taken and expected_iou(logits, taken, temperature) == pytest.approx(best, rel=1e-5)


def test_a_sure_mask_is_cut_about_where_it_was_and_an_unsure_one_is_not_empty():
    sure = torch.full((8, 8), -9.0)
    sure[2:5, 2:6] = 9.0
    unsure = torch.full((8, 8), -9.0)
    unsure[2:5, 2:6] = -1.0
    masks = torch.stack([sure, unsure])
    for mask, cut in zip(masks, expected_iou_cut(masks)):
        assert torch.equal(mask > cut, sure > 0)
    assert expected_iou_cut(masks[:1]).abs() < 1


def test_the_softer_the_probabilities_the_more_is_painted_when_in_doubt():
    shades = torch.linspace(-6, 3, 64).view(1, 8, 8)
    painted = [int((shades > expected_iou_cut(shades, temperature)).sum()) for temperature in (1.0, 2.0, 4.0)]
    assert int((shades > 0).sum()) < painted[0] < painted[1] < painted[2]


def test_equal_cells_are_all_taken():
    assert (torch.zeros(1, 4, 4) > expected_iou_cut(torch.zeros(1, 4, 4))).all()
    flat = torch.full((1, 4, 4), -20.0)
    assert (flat > expected_iou_cut(flat)).all()
