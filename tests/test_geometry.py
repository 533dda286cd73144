from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_core.geometry import reframe, unpad

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
