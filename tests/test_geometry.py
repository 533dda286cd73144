from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_core.geometry import pad_grids, reframe, unpad

UNIT = torch.tensor([[0.0, 0.0, 1.0, 1.0]])


def ramp(content: torch.Tensor, size: int = 32) -> torch.Tensor:
    """A map whose value at each cell is the x and y (0..1) of the picture point it shows."""
    centres = (torch.arange(size) + 0.5) / size
    x = (centres - content[0, 0]) / (content[0, 2] - content[0, 0])
    y = (centres - content[0, 1]) / (content[0, 3] - content[0, 1])
    return torch.stack([x.expand(size, size), y[:, None].expand(size, size)])[None]


@settings(deadline=None, max_examples=40)
@given(st.floats(0, 0.3), st.floats(0, 0.3), st.floats(0.6, 1.0), st.floats(0.6, 1.0), st.integers(8, 40))
def test_a_point_of_the_picture_lands_where_the_target_frame_shows_it(x0, y0, x1, y1, size):
    source = torch.tensor([[x0, y0, x1, y1]])
    moved = reframe(ramp(source), source, UNIT, (size, size))
    inner = slice(size // 4, -(size // 4))  # near the border bilinear sampling clamps
    torch.testing.assert_close(moved[..., inner, inner], ramp(UNIT, size)[..., inner, inner], atol=1e-4, rtol=0)


def test_reframe_into_a_padded_frame_and_back_is_the_identity_away_from_the_border():
    wide = torch.tensor([[0.0, 0.0, 1.0, 0.5625]])
    maps = ramp(UNIT)
    back = unpad(reframe(maps, UNIT, wide, (64, 64)), wide, (32, 32))
    torch.testing.assert_close(back[..., 2:-2, 2:-2], maps[..., 2:-2, 2:-2], atol=0.02, rtol=0)


def test_equal_frames_of_equal_size_change_nothing():
    maps = torch.randn(2, 3, 8, 8)
    content = UNIT.repeat(2, 1)
    assert torch.equal(unpad(maps, content, (8, 8)), maps)


def test_padding_is_never_blended_into_the_picture():
    maps = torch.full((1, 1, 4, 8), 100.0)
    maps[..., :4] = 1.0  # the picture fills the left half
    content = torch.tensor([[0.0, 0.0, 0.5, 1.0]])
    assert torch.equal(unpad(maps, content, (9, 9)), torch.ones(1, 1, 9, 9))


def test_grids_of_different_sizes_are_padded_and_keep_their_boxes():
    grids = [torch.rand(2, 3, 5), torch.rand(2, 4, 2)]
    padded, content, mask = pad_grids(grids, torch.tensor([[0.0, 0.0, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0]]))
    assert padded.shape == (2, 2, 4, 5)
    assert torch.equal(padded[0, :, :3, :5], grids[0]) and torch.equal(padded[1, :, :4, :2], grids[1])
    torch.testing.assert_close(content, torch.tensor([[0.0, 0.0, 1.0, 0.75], [0.0, 0.0, 0.2, 1.0]]))
    assert mask.sum(1).tolist() == [15, 8] and mask[1].view(4, 5)[:, :2].all()
    for row, grid in enumerate(grids):
        assert torch.equal(padded.flatten(2).transpose(1, 2)[row][mask[row]], grid.flatten(1).T)


def test_grids_of_one_size_need_no_mask():
    grids = [torch.rand(2, 3, 3), torch.rand(2, 3, 3)]
    unit = torch.tensor([[0.0, 0.0, 1.0, 1.0]] * 2)
    for form in (grids, torch.stack(grids)):
        padded, content, mask = pad_grids(form, unit)
        assert torch.equal(padded, torch.stack(grids)) and content is unit and mask is None
