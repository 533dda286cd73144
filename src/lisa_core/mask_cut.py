"""Where a mask's logits are cut so that the mask has the best IoU to be expected."""

from __future__ import annotations

import torch
from torch import Tensor

_SURE = 1e4
"""Logits beyond this are as sure as that, infinite ones too; one that is no number is surely not in the mask."""


def expected_iou_cut(logits: Tensor, temperature: float = 1.0) -> Tensor:
    """The logit above which cells make the mask whose expected IoU is highest.

    Cells are taken from the surest on, and the expected IoU of each such set is what Nowozin, "Optimal Decisions from
    Probabilistic Models: The Intersection-over-Union Case" (CVPR 2014) estimates it by: the ratio of the expected
    overlap to the expected union. A sure model is cut near 0; one that is not sure, lower: half an object that is
    there outweighs half of one that is not, and no mask at all is right for nothing.

    Args:
        logits: of M masks over cells of one size, float [M,h,w].
        temperature: what logits are divided by before they are probabilities (Guo et al., arXiv:1706.04599, section
            4.2), above 0; above 1 for a model that is surer than it should be.

    Returns:
        float32 [M], below the highest logit of each mask: at least one of its cells is in the mask.
    """
    finite = logits.flatten(1).float().nan_to_num(nan=-_SURE).clamp(-_SURE, _SURE)
    ordered = finite.sort(dim=1, descending=True).values
    probability = (ordered / temperature).sigmoid()
    overlap = probability.cumsum(1)
    size = torch.arange(1, ordered.shape[1] + 1, device=logits.device)
    union = size + probability.sum(1, keepdim=True) - overlap
    last = (overlap / union).argmax(1, keepdim=True)
    following = (last + 1).clamp(max=ordered.shape[1] - 1)
    taken, left = ordered.gather(1, last)[:, 0], ordered.gather(1, following)[:, 0]
    # Below what is taken by more than rounding, also after masks were brought to another size.
    return torch.minimum((taken + left) / 2, taken - 1e-6 * taken.abs().clamp(min=1))
