"""What a run minimizes: the weighted terms of one micro-batch, each as a sum with its count."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from lisa_core.config import LossConfig
from lisa_core.losses import (
    LossTerm,
    bce_per_mask,
    dice_per_mask,
    pool_targets,
    sentence_contrast,
    shifted_positions,
    soft_iou,
    token_cross_entropy,
)
from lisa_core.model import LisaOutput
from lisa_core.vlm import Batch


def loss_weights(config: LossConfig) -> dict[str, float]:
    """The weight of each term of `loss_terms`."""
    return {
        "ce": config.ce_weight,
        "bce": config.bce_weight,
        "dice": config.dice_weight,
        "similarity": config.similarity_weight,
        "contrast": config.contrast_weight,
        "iou": config.iou_weight,
    }


def term_counts(batch: Batch) -> dict[str, float]:
    """What the terms of a batch will be averaged over, known before the model has seen it."""
    masks = float(len(batch["targets"]))
    counts = dict.fromkeys(("bce", "dice", "similarity", "contrast", "iou"), masks)
    counts["ce"] = float(shifted_positions(batch["labels"])[0].sum()) if "labels" in batch else 0.0
    return counts


def loss_terms(output: LisaOutput, batch: Batch) -> tuple[dict[str, LossTerm], Tensor]:
    """The terms of the loss, unweighted, and each mask's IoU [M] with its target (no gradient).

    The answer holds one `[SEG]`, so there is one mask for each sentence. The mask terms are those of LISA
    (arXiv:2308.00692, equation 5); the IoU term is SAM's (arXiv:2304.02643, appendix A).
    """
    logits = output.mask_logits.float()
    size = min(logits.shape[-1], batch["targets"].shape[-1])
    logits = _at(logits, size)
    target, valid = _targets(output, batch, size)
    iou = soft_iou(logits, target, valid)
    terms = {
        "bce": _sum(bce_per_mask(logits, target, valid)),
        "dice": _sum(dice_per_mask(logits, target, valid)),
        "iou": _sum((output.iou.float() - iou).square()),
    }
    if output.similarity_logits is not None:
        similarity = output.similarity_logits.float()
        target, valid = _targets(output, batch, similarity.shape[-1])
        terms["similarity"] = _sum(bce_per_mask(similarity, target, valid) + dice_per_mask(similarity, target, valid))
        images = batch["image_index"][output.rows]
        terms["contrast"] = _sum(sentence_contrast(similarity, target, valid, images))
    if output.token_logits is not None and output.token_labels is not None:
        terms["ce"] = token_cross_entropy(output.token_logits, output.token_labels)
    return terms, iou


def _targets(output: LisaOutput, batch: Batch, size: int) -> tuple[Tensor, Tensor]:
    return pool_targets(batch["targets"][output.rows], batch["valid"][output.rows], size)


def _at(logits: Tensor, size: int) -> Tensor:
    if logits.shape[-1] == size:
        return logits
    return F.interpolate(logits[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]


def _sum(per_mask: Tensor) -> LossTerm:
    return LossTerm(torch.sum(per_mask), float(len(per_mask)))
