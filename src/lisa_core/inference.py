"""Masks for sentences about pictures, at the pictures' own size: what evaluation and the Segmenter share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from lisa_core.data.collate import Collator
from lisa_core.model import EncodedImages, LisaModel
from lisa_core.prompts import answer
from lisa_core.vlm import Batch


@dataclass
class Pictures:
    """U pictures, encoded once."""

    images: Sequence[Image.Image]
    """RGB, at their own sizes."""
    state: EncodedImages
    """What `LisaModel.encode_image` returned."""


@dataclass
class Prediction:
    """One mask."""

    logits: Tensor
    """float32 [H,W] at the picture's own size, on the model's device; the mask is where they are above 0."""
    iou: float
    """The decoder's own estimate of the mask's IoU."""


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on the device; other values as they are."""
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}


@torch.no_grad()  # inference mode would leave shared out weights that cannot be trained any more
def encode(model: LisaModel, collator: Collator, images: Sequence[Image.Image]) -> Pictures:
    """Run everything that depends on the pictures alone."""
    # The processors of most families take a text beside each picture; which one does not matter to the picture.
    batch = collator.inputs(images, [""] * len(images), None, range(len(images)))
    return Pictures(images, model.encode_image(to_device(batch, _device(model))))


@torch.no_grad()  # inference mode would leave shared out weights that cannot be trained any more
def predict(
    model: LisaModel, collator: Collator, encoded: Pictures, questions: Sequence[str], image_index: Sequence[int]
) -> list[Prediction]:
    """Draw one mask for each question; the answer up to `[SEG]` is given (LISA's teacher-forced protocol).

    Args:
        model: in evaluation mode.
        collator: made for this model.
        encoded: U pictures.
        questions: N user turns.
        image_index: for each question, which picture it is about; must name every picture.
    """
    batch = collator.inputs(encoded.images, questions, [answer()] * len(questions), image_index)
    output = model(to_device(batch, _device(model)), encoded.state)
    predictions = []
    for row, logits, iou in zip(output.rows.tolist(), output.mask_logits.float(), output.iou.tolist()):
        width, height = encoded.images[image_index[row]].size
        full = F.interpolate(logits[None, None], size=(height, width), mode="bilinear", align_corners=False)
        predictions.append(Prediction(full[0, 0], iou))
    return predictions


def _device(model: LisaModel) -> torch.device:
    # What is offloaded is on no device between two passes.
    return next(parameter.device for parameter in model.parameters() if not parameter.is_meta)
