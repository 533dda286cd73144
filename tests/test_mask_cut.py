"""The cut makes the mask with the best expected IoU, found here by trying every set of cells."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

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


@pytest.mark.parametrize("level", [0.0, -20.0, -120.0, 1e3])
def test_equal_cells_are_all_taken_at_any_size(level):
    flat = torch.full((1, 1, 8, 8), level)
    cut = flat - expected_iou_cut(flat[0])
    assert (functional.interpolate(cut, (17, 13), mode="bilinear") > 0).all()


def test_neighbouring_numbers_can_be_told_apart():
    top = torch.tensor(-120.0)
    logits = torch.stack([top, torch.nextafter(top, torch.tensor(-torch.inf)), *torch.full((2,), -200.0)]).view(1, 2, 2)
    assert (logits > expected_iou_cut(logits)).any()


def test_what_is_no_number_costs_its_own_cell_alone():
    logits = torch.full((1, 4, 4), -5.0)
    logits[0, :2] = 4.0
    expected = expected_iou_cut(logits) > -1
    logits[0, 3, 3], logits[0, 3, 2], logits[0, 0, 0] = torch.nan, -torch.inf, torch.inf
    cut = expected_iou_cut(logits, 9.0)
    assert expected.all() and torch.isfinite(cut).all()
    assert (logits[0, :2] > expected_iou_cut(logits)).all() and not logits[0, 3, 2:].gt(cut).any()
    assert torch.isfinite(expected_iou_cut(torch.full((1, 2, 2), torch.nan))).all()
