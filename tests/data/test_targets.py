from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional as F

from lisa_core.data import IGNORE
from lisa_core.data.targets import first_of_each, target_raster

MASKS = torch.tensor(
    [[[1.0, 0.5], [0, 0]], [[0, 0], [1, 0.5]], [[1, 1], [1, 1]], [[0, 0], [0, 0]]]
)  # the last is empty
COUNTED = torch.tensor([[[1.0, 1.0], [1, 1]], [[1, 1], [1, 0]]])


def area_shares(mask: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The raster by counting, cell by cell, the pixels that a cell touches."""
    target, valid = np.zeros((size, size)), np.zeros((size, size))
    bounds = [[(i * side // size, -(-(i + 1) * side // size)) for i in range(size)] for side in mask.shape]
    for row, (top, bottom) in enumerate(bounds[0]):
        for column, (left, right) in enumerate(bounds[1]):
            cell = mask[top:bottom, left:right]
            counted = (cell != IGNORE).sum()
            valid[row, column] = counted / cell.size
            target[row, column] = (cell == 1).sum() / counted if counted else 0
    return target, valid


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.sampled_from([0, 1, IGNORE])
    ),
    st.integers(1, 12),
)
def test_the_raster_is_the_share_of_each_cell(mask, size):
    target, valid = target_raster(mask, size)
    expected_target, expected_valid = area_shares(mask, size)
    assert target.shape == valid.shape == (size, size) and target.dtype == valid.dtype == torch.float32
    np.testing.assert_allclose(target.numpy(), expected_target, atol=1e-5)
    np.testing.assert_allclose(valid.numpy(), expected_valid, atol=1e-6)


@pytest.mark.parametrize("shape", [(512, 256), (256, 768), (128, 256)])
def test_the_raster_keeps_areas_and_places_of_a_mask_it_divides(shape):
    mask = np.zeros(shape, np.uint8)
    height, width = shape
    mask[: height // 4, width // 2 :] = 1
    mask[height // 2 :] = IGNORE
    target, valid = target_raster(mask, 64)
    expected = torch.zeros(64, 64)
    expected[:16, 32:] = 1
    assert torch.equal(target, expected)
    assert (valid[:32] == 1).all() and (valid[32:] == 0).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 50), st.integers(0, 10**6))
def test_a_raster_holds_the_means_of_torch_s_windows(height: int, width: int, size: int, seed: int) -> None:
    mask = np.random.default_rng(seed).choice(np.array([0, 1, IGNORE], np.uint8), (height, width))
    target, valid = target_raster(mask, size)
    both = torch.from_numpy(np.stack([mask == 1, mask != IGNORE])).float()
    share, counted = F.interpolate(both[None], size=(size, size), mode="area")[0]
    torch.testing.assert_close(valid, counted)
    torch.testing.assert_close(target, share / counted.clamp(min=1e-6))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3), st.integers(0, 1)), max_size=12))
def test_the_first_mask_of_each_target_in_each_place(made: list[tuple[str, int, int]]) -> None:
    targets = torch.stack([MASKS[mask] for _, mask, _ in made]) if made else torch.zeros(0, 2, 2)
    valid = torch.stack([COUNTED[counted] for _, _, counted in made]) if made else torch.zeros(0, 2, 2)
    found = first_of_each(targets, valid, [place for place, _, _ in made])
    assert found == [number for number, one in enumerate(made) if one[1] == 3 or one not in made[:number]]
