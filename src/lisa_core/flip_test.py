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
from lisa_core.prompts import question
from lisa_core.vlm import SEG_TOKEN


def mirrored_question(text: str, is_sentence: bool) -> str | None:
    """The user turn that asks the same of the mirrored picture, `left` and `right` exchanged.

    None where there is surely none: see `mirror_words.mirrored`, whose arguments these are.
    """
    other = mirrored(text, is_sentence)
    return None if other is None else question(other, is_sentence)


def mirrored_answer(reply: str) -> str | None:
    """The answer that says the same about the mirrored picture, or None."""
    parts = [mirrored(part) for part in reply.split(SEG_TOKEN)]
    return None if None in parts else SEG_TOKEN.join(map(str, parts))


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
