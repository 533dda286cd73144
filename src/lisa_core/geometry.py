"""Maps drawn on different grids, brought into one another's frame.

A grid shows a picture inside its content box (x0, y0, x1, y1), in fractions of the grid; the rest is padding. The
common frame of all grids is the picture itself, the unit square.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def reframe(maps: Tensor, source: Tensor, target: Tensor, size: tuple[int, int]) -> Tensor:
    """Resample maps so that the picture moves from the source content box to the target one.

    Args:
        maps: float [M,C,h,w].
        source: content boxes of `maps`, [M,4].
        target: content boxes of the result, [M,4]; the unit box gives the picture without padding.
        size: (height, width) of the result in cells.

    Returns:
        float [M,C,*size], bilinear; cells that show padding repeat the picture's border.
    """
    if torch.equal(source, target):
        return _resize(maps, size)
    height, width = size
    y = (torch.arange(height, device=maps.device) + 0.5) / height
    x = (torch.arange(width, device=maps.device) + 0.5) / width
    grid = []
    for axis, cells in ((0, x), (1, y)):
        low, high = target[:, axis, None], target[:, axis + 2, None]
        in_picture = ((cells - low) / (high - low)).clamp(0, 1)  # [M,size]
        low, high = source[:, axis, None], source[:, axis + 2, None]
        grid.append((low + in_picture * (high - low)) * 2 - 1)
    xs = grid[0][:, None, :].expand(-1, height, -1)
    ys = grid[1][:, :, None].expand(-1, -1, width)
    return F.grid_sample(
        maps, torch.stack([xs, ys], -1).to(maps.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )


def unpad(maps: Tensor, content: Tensor, size: tuple[int, int]) -> Tensor:
    """The picture's part of the maps [M,C,h,w], at `size`; see `reframe`."""
    unit = torch.tensor([0.0, 0.0, 1.0, 1.0], device=content.device, dtype=content.dtype).expand_as(content)
    return reframe(maps, content, unit, size)


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
