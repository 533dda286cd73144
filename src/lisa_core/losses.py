"""The training loss, kept as sums and counts so that accumulation and processes can average exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from lisa_core.text import IGNORED_LABEL


@dataclass(frozen=True)
class LossTerm:
    """One term of the loss over one micro-batch; the loss is `total / count` over all micro-batches of a step."""

    total: Tensor
    """Differentiable sum, a scalar."""
    count: float
    """How many masks (or tokens) the sum runs over."""
    each: Tensor | None = None
    """What is summed, one value for each of them, without gradient."""
    rows: Tensor | None = None
    """The row of the batch that each belongs to, int64."""


def bce_per_mask(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Mean binary cross-entropy over the valid pixels of each mask.

    Args:
        logits: float [M,h,w].
        target: float [M,h,w] in 0..1; the share of a cell that is target.
        valid: float [M,h,w] in 0..1; the share of a cell that counts.

    Returns:
        float [M]; 0 for a mask without a valid pixel.
    """
    loss = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    return (loss * valid).sum((1, 2)) / valid.sum((1, 2)).clamp(min=1e-6)


def dice_per_mask(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Dice loss of each mask over its valid pixels, smoothed by 1 (V-Net, arXiv:1606.04797, equation 3).

    Args and shapes as for `bce_per_mask`; returns float [M].
    """
    probability = logits.sigmoid() * valid
    target = target * valid
    overlap = (probability * target).sum((1, 2))
    return 1 - (2 * overlap + 1) / (probability.sum((1, 2)) + target.sum((1, 2)) + 1)


def soft_iou(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """IoU [M] of `logits > 0` with the target over valid cells, weighing each cell by its share; no gradient."""
    with torch.no_grad():
        predicted = (logits > 0).float() * valid
        target = target * valid
        overlap = torch.minimum(predicted, target).sum((1, 2))
        union = torch.maximum(predicted, target).sum((1, 2))
        return torch.where(union > 0, overlap / union.clamp(min=1e-6), torch.ones_like(union))


def sentence_contrast(logits: Tensor, target: Tensor, valid: Tensor, image_index: Tensor) -> Tensor:
    """Which sentence of its picture does each patch belong to? Divergence over the sentences of one picture.

    A map that ignores the words is the same for all of them and pays here, however well it finds objects; 0 is a
    picture whose every target patch is claimed by its own sentences alone. The
    listwise form is that of InfoNCE (arXiv:1807.03748, equation 4), over sentences instead of samples.

    Args:
        logits: similarity maps, float [M,h,w].
        target: float [M,h,w] in 0..1.
        valid: float [M,h,w] in 0..1.
        image_index: int64 [M], the picture of each map.

    Returns:
        float [M]; 0 for a map that is its picture's only one.
    """
    losses = torch.zeros(len(logits), device=logits.device)
    for image in image_index.unique():
        rows = (image_index == image).nonzero()[:, 0]
        if len(rows) < 2:
            continue
        share = (target * valid)[rows]  # [K,h,w]
        claimed = share.sum(0)
        # Phrasings of one object claim its patches together; a patch weighs as much as its best claim.
        wanted = share / claimed.clamp(min=1e-6)
        weight = share.amax(0)
        entropy = -torch.xlogy(wanted, wanted).sum(0)  # what sentences that share an object cannot avoid
        divergence = -(wanted * logits[rows].log_softmax(0)).sum(0) - entropy
        losses[rows] = (divergence * weight).sum() / weight.sum().clamp(min=1e-6)
    return losses


def pointing(logits: Tensor, target: Tensor, valid: Tensor) -> Tensor:
    """Where in its picture is what a sentence means? Divergence of each map's softmax over patches from the target.

    Only how patches stand to one another counts, not how sure the map is of any of them: what a sentence with unknown
    words means may stand out a little and is found all the same.

    Args:
        logits: similarity maps, float [M,h,w].
        target: float [M,h,w] in 0..1.
        valid: float [M,h,w] in 0..1.

    Returns:
        float [M]; 0 is a map whose softmax is the target's share of each patch, or a mask without a target.
    """
    share = (target * valid).flatten(1)
    area = share.sum(1, keepdim=True)
    wanted = share / area.clamp(min=1e-6)
    found = (logits + valid.log().clamp(min=-1e4)).flatten(1).log_softmax(1)
    divergence = (torch.xlogy(wanted, wanted) - wanted * found).sum(1)
    return torch.where(area[:, 0] > 0, divergence, 0 * divergence)


def pool_targets(targets: Tensor, valid: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Target and valid shares [M,S,S] at another number of cells a side, by area."""
    if targets.shape[-1] == size:
        return targets, valid
    pooled = F.interpolate(torch.stack([targets * valid, valid], 1), size=(size, size), mode="area")
    return pooled[:, 0] / pooled[:, 1].clamp(min=1e-6), pooled[:, 1]


def summed(each: Tensor, rows: Tensor | None = None) -> LossTerm:
    """The term whose sum runs over these values; `rows`: which row of the batch each belongs to."""
    return LossTerm(torch.sum(each), float(len(each)), each.detach(), rows)


def token_cross_entropy(logits: Tensor, labels: Tensor, rows: Tensor | None = None) -> LossTerm:
    """Cross-entropy of next-token scores [T,V] against ids [T], which stand in these rows [T]."""
    return summed(F.cross_entropy(logits.float(), labels, reduction="none"), rows)


def shifted_positions(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Positions bool [N,L] whose state predicts a labelled next token, and those tokens [T] in the same order."""
    following = F.pad(labels[:, 1:], (0, 1), value=IGNORED_LABEL)
    positions = following != IGNORED_LABEL
    return positions, following[positions]
