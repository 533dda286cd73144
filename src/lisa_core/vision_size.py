"""Another picture size for a vision tower of transformers: its table of positions interpolated, once and for all."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lisa_core.errors import ConfigError


def resize_vision_tower(tower: Any, side: int, *configs: Any) -> None:
    """Let a vision tower with a learned table of positions see pictures of `side` x `side` pixels.

    The table is interpolated bicubically, as transformers' own `interpolate_pos_encoding` does for each pass. A size
    the tower has already changes nothing.

    Args:
        tower: the transformers model; changed in place, on any device.
        side: in pixels.
        *configs: further configs that name the tower's size, such as the whole model's `vision_config`.

    Raises:
        ConfigError: if the side is no multiple of a patch's, or the tower has no such table.
    """
    if one_side(tower.config.image_size) == side:
        return
    check_side(side, one_side(tower.config.patch_size))
    count = (side // one_side(tower.config.patch_size)) ** 2
    found = False
    for module in tower.modules():
        table = getattr(module, "position_embedding", None)
        if isinstance(table, nn.Embedding):
            weight = table.weight
            module.position_embedding = nn.Embedding.from_pretrained(
                _interpolated(weight.detach(), count), freeze=not weight.requires_grad
            )
            if getattr(module, "position_ids", None) is not None:
                rows = torch.arange(module.position_embedding.num_embeddings, device=weight.device)
                module.position_ids = rows.expand(1, -1)
            found = True
        table = getattr(module, "position_embeddings", None)
        if isinstance(table, nn.Parameter):
            rows = _interpolated(table.detach()[0], count)
            module.position_embeddings = nn.Parameter(rows[None], requires_grad=table.requires_grad)
            found = True
    if not found:
        raise ConfigError(f"{type(tower).__name__} has no table of positions to fit to --img-size: leave that out")
    for module in tower.modules():
        _set(module, "image_size", side)
        for name, value in (
            ("num_patches", count),
            ("num_patches_per_side", side // one_side(tower.config.patch_size)),
        ):
            if isinstance(getattr(module, name, None), int):
                setattr(module, name, value)
        if isinstance(getattr(module, "num_positions", None), int):
            module.num_positions = module.position_embedding.num_embeddings
    for config in (tower.config, *configs):
        _set(config, "image_size", side)


def check_side(side: int, step: int) -> None:
    """Raise ConfigError unless a picture's side, in pixels, is a multiple of `step`."""
    if side % step or side < step:
        below = side // step * step
        choices = f"{below} or {below + step}" if below else str(step)
        raise ConfigError(
            f"--img-size {side} must be a multiple of {step}, what the vision tower reads at once: {choices}"
        )


def _interpolated(table: Tensor, count: int) -> Tensor:
    """Rows [k+N,C] of k special tokens and a square grid, as rows [k+count,C]."""
    old = int(len(table) ** 0.5) ** 2
    special, grid = table[: len(table) - old], table[len(table) - old :]
    before, after = int(old**0.5), int(count**0.5)
    square = grid.float().T.unflatten(1, (before, before))[None]  # [1,C,h,w]
    # In float32: bicubic weights in half precision shift the positions.
    fitted = F.interpolate(square, size=(after, after), mode="bicubic", align_corners=False)
    return torch.cat([special, fitted[0].flatten(1).T.to(table.dtype)])


def one_side(size: Any) -> int:
    """Of a size that a config gives as a number, or as a pair."""
    return int(size if isinstance(size, int) else size[0])


def _set(owner: Any, name: str, side: int) -> None:
    """Set a size that is a number, or a pair of them."""
    value = getattr(owner, name, None)
    if isinstance(value, int):
        setattr(owner, name, side)
    elif isinstance(value, tuple):
        setattr(owner, name, (side, side))
    elif isinstance(value, list):
        setattr(owner, name, [side, side])
