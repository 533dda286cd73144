"""Flip testing: a mask is drawn in the mirrored picture too, by the words for that, and the mean of both is taken.

Where a model is in doubt, the two differ, and what they share is more often right. The usual form of test-time
augmentation (Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks", NIPS 2012, section
4.1), with the sentence as part of what is mirrored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from lisa_core.data.augmentation.mirror_words import mirrored
from lisa_core.model import LisaOutput
from lisa_core.prompts import Dialogue
from lisa_core.vlm import SEG_TOKEN


def mirrored_turn(asked: str, reply: str) -> tuple[str, str] | None:
    """Question and answer about the mirrored picture that mean the same, `left` and `right` exchanged.

    None where they are not surely to be had (see `mirror_words.mirrored`), and for what comes after other turns.
    """
    if isinstance(asked, Dialogue):
        return None
    parts = [mirrored(asked), *map(mirrored, reply.split(SEG_TOKEN))]
    if None in parts:
        return None
    return str(parts[0]), SEG_TOKEN.join(map(str, parts[1:]))


def mean_with_mirrored(output: LisaOutput, other: LisaOutput, surely: Sequence[bool]) -> LisaOutput:
    """The mean of both outputs' mask logits and IoU estimates, in the frame of the picture.

    Args:
        output: of the pictures.
        other: of the mirrored pictures, in the same order.
        surely: for each sentence whether it was mirrored; what was not stays as `output` has it.
    """
    chosen = torch.tensor(list(surely), device=output.rows.device)[output.of_drawn(output.rows)]
    masks = torch.where(
        chosen[:, None, None], (output.mask_logits + other.mask_logits.flip(-1)) / 2, output.mask_logits
    )
    iou = torch.where(chosen, (output.iou + other.iou) / 2, output.iou)
    return dataclasses.replace(output, mask_logits=masks, iou=iou)
