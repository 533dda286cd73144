"""Maps drawn on different grids, brought into one another's frame.

A grid shows a picture inside its content box (x0, y0, x1, y1), in fractions of the grid; the rest is padding. The
common frame of all grids is the picture itself, the unit square.
"""

from __future__ import annotations

from collections.abc import Sequence

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
        float [M,C,*size], bilinear; cells that show padding repeat the picture's border, and none blends padding in.
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
        half_cell = 0.5 / maps.shape[-1 - axis]  # nearer to the edge, padding would be blended in
        inner = torch.minimum(low + half_cell, (low + high) / 2), torch.maximum(high - half_cell, (low + high) / 2)
        grid.append((low + in_picture * (high - low)).clamp(*inner) * 2 - 1)
    xs = grid[0][:, None, :].expand(-1, height, -1)
    ys = grid[1][:, :, None].expand(-1, -1, width)
    return F.grid_sample(
        maps, torch.stack([xs, ys], -1).to(maps.dtype), mode="bilinear", padding_mode="border", align_corners=False
    )


def pad_grids(grids: Tensor | Sequence[Tensor], content: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    """Grids of different sizes as one tensor, padded with zeros on the right and at the bottom.

    Args:
        grids: one map [C,h,w] per picture, or all of them as [U,C,h,w].
        content: each picture's content box in its own grid, [U,4].

    Returns:
        The grids [U,C,H,W]; the content boxes in them [U,4]; which cells are there, bool [U,H*W], or None for all.
    """
    if isinstance(grids, Tensor):
        return grids, content, None
    height, width = (max(grid.shape[axis] for grid in grids) for axis in (1, 2))
    if all(grid.shape[1:] == (height, width) for grid in grids):
        return torch.stack(list(grids)), content, None
    padded = torch.stack([F.pad(grid, (0, width - grid.shape[2], 0, height - grid.shape[1])) for grid in grids])
    mask = torch.zeros(len(grids), height, width, dtype=torch.bool, device=padded.device)
    for row, grid in enumerate(grids):
        mask[row, : grid.shape[1], : grid.shape[2]] = True
    share = torch.tensor([[grid.shape[2] / width, grid.shape[1] / height] * 2 for grid in grids])
    return padded, content * share.to(content), mask.flatten(1)


def unpad(maps: Tensor, content: Tensor, size: tuple[int, int]) -> Tensor:
    """The picture's part of the maps [M,C,h,w], at `size`; see `reframe`."""
    unit = torch.tensor([0.0, 0.0, 1.0, 1.0], device=content.device, dtype=content.dtype).expand_as(content)
    return reframe(maps, content, unit, size)


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if maps.shape[-2:] == size:
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
