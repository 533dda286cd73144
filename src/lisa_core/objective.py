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
    pointing,
    pool_targets,
    sentence_contrast,
    shifted_positions,
    soft_iou,
    summed,
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
        "pointing": config.pointing_weight,
        "iou": config.iou_weight,
    }


def term_counts(batch: Batch) -> dict[str, float]:
    """What the terms of a batch will be averaged over, known before the model has seen it."""
    masks = float(len(batch["targets"]))
    counts = dict.fromkeys(("similarity", "contrast", "pointing"), masks)
    counts |= dict.fromkeys(("bce", "dice", "iou"), float(len(batch["drawn"])) if "drawn" in batch else masks)
    counts["ce"] = float(shifted_positions(batch["labels"])[0].sum()) if "labels" in batch else 0.0
    return counts


def loss_terms(output: LisaOutput, batch: Batch) -> tuple[dict[str, LossTerm], Tensor]:
    """The terms of the loss, unweighted, and each drawn mask's IoU [K] with its target (no gradient).

    The k-th `[SEG]` of an answer draws the k-th target of its row; an answer in words alone has neither. The mask terms
    are those of LISA (arXiv:2308.00692, equation 5); the IoU term is SAM's (arXiv:2304.02643, appendix A).

    Raises:
        ValueError: if there are not as many masks as targets.
    """
    if len(batch["targets"]) == 0:
        terms, iou = _no_masks(output)
    else:
        terms, iou = _mask_terms(output, batch)
    if output.token_logits is not None and output.token_labels is not None:
        rows = torch.nonzero(shifted_positions(batch["labels"])[0])[:, 0]
        terms["ce"] = token_cross_entropy(output.token_logits, output.token_labels, rows)
    return terms, iou


def _mask_terms(output: LisaOutput, batch: Batch) -> tuple[dict[str, LossTerm], Tensor]:
    _check_order(output, batch)
    rows = output.rows
    logits = output.mask_logits.float()
    size = min(logits.shape[-1], batch["targets"].shape[-1])
    logits = _at(logits, size)
    target, valid = pool_targets(output.of_drawn(batch["targets"]), output.of_drawn(batch["valid"]), size)
    iou = soft_iou(logits, target, valid)
    terms = {}
    if output.decoded:
        drawn_rows = output.of_drawn(rows)
        terms["bce"] = summed(bce_per_mask(logits, target, valid), drawn_rows)
        terms["dice"] = summed(dice_per_mask(logits, target, valid), drawn_rows)
        terms["iou"] = summed((output.iou.float() - iou).square(), drawn_rows)
    if output.similarity_logits is not None:
        similarity = output.similarity_logits.float()
        target, valid = pool_targets(batch["targets"], batch["valid"], similarity.shape[-1])
        each = bce_per_mask(similarity, target, valid) + dice_per_mask(similarity, target, valid)
        terms["similarity"] = summed(each, rows)
        images = batch["image_index"][rows]
        terms["contrast"] = summed(sentence_contrast(similarity, target, valid, images), rows)
        terms["pointing"] = summed(pointing(similarity, target, valid), rows)
    return terms, iou


def _no_masks(output: LisaOutput) -> tuple[dict[str, LossTerm], Tensor]:
    """Terms over no mask. What the model drew all the same keeps every weight in the graph, with a gradient of zero."""
    nothing = 0 * (output.mask_logits.float().sum() + output.iou.float().sum())
    names = ["bce", "dice", "iou"]
    if output.similarity_logits is not None:
        nothing = nothing + 0 * output.similarity_logits.float().sum()
        names += ["similarity", "contrast", "pointing"]
    none = output.iou.new_zeros(0)
    return {name: LossTerm(nothing, 0.0, none, output.rows[:0]) for name in names}, none


def _check_order(output: LisaOutput, batch: Batch) -> None:
    """Raise ValueError unless the targets stand in the order of the masks."""
    seg_row = batch["seg_row"] if "seg_row" in batch else torch.arange(len(batch["targets"]), device=output.rows.device)
    if not torch.equal(output.rows, seg_row):
        raise ValueError(f"masks of the rows {output.rows.tolist()} have targets of the rows {seg_row.tolist()}")


def _at(logits: Tensor, size: int) -> Tensor:
    if logits.shape[-1] == size:
        return logits
    return F.interpolate(logits[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]
