"""Masks for sentences about pictures, at the pictures' own size: what evaluation and the Segmenter share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from lisa_core.data.collate import Collator
from lisa_core.errors import ConfigError
from lisa_core.flip_test import mean_with_mirrored, mirrored_answer
from lisa_core.mask_cut import expected_iou_cut
from lisa_core.model import EncodedImages, LisaModel, LisaOutput
from lisa_core.prompts import answer
from lisa_core.vlm import Batch


@dataclass
class Pictures:
    """U pictures, encoded once."""

    images: Sequence[Image.Image]
    """RGB, at their own sizes."""
    state: EncodedImages
    """What `LisaModel.encode_image` returned."""
    mirrored: Pictures | None = None
    """The same pictures mirrored, once a flip test has encoded them."""


@dataclass
class Prediction:
    """One mask."""

    logits: Tensor
    """float32 [H,W] at the picture's own size, on the model's device; the mask is where they are above 0.

    With `mask_temperature` they are less `expected_iou_cut`, so that this is so.
    """
    iou: float
    """The decoder's own estimate of the mask's IoU."""


@dataclass
class Reply:
    """What the model said to one question, and what it drew for it."""

    text: str
    """The words, special tokens included."""
    masks: list[Prediction]
    """One for each `[SEG]`; none if it said none."""


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on the device; other values as they are."""
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}


@torch.no_grad()  # inference mode would leave shared out weights that cannot be trained any more
def encode(model: LisaModel, collator: Collator, images: Sequence[Image.Image]) -> Pictures:
    """Run everything that depends on the pictures alone."""
    batch = collator.picture_inputs(images)
    return Pictures(images, model.encode_image(to_device(batch, _device(model))))


@torch.no_grad()  # inference mode would leave shared out weights that cannot be trained any more
def predict(
    model: LisaModel,
    collator: Collator,
    encoded: Pictures,
    questions: Sequence[str],
    image_index: Sequence[int],
    mirrored: Sequence[str | None] | None = None,
) -> list[Prediction]:
    """Draw one mask for each question; the answer up to `[SEG]` is given (LISA's teacher-forced protocol).

    Args:
        model: in evaluation mode.
        collator: made for this model.
        encoded: U pictures.
        questions: N user turns.
        image_index: for each question, which picture it is about; must name every picture.
        mirrored: `flip_test.mirrored_question` of each, for a model with `flip_test`; None: no mask is flip-tested.
    """
    rows = predict_answers(model, collator, encoded, questions, [answer()] * len(questions), image_index, mirrored)
    return [prediction for row in rows for prediction in row]


@torch.no_grad()
def predict_answers(
    model: LisaModel,
    collator: Collator,
    encoded: Pictures,
    questions: Sequence[str],
    answers: Sequence[str],
    image_index: Sequence[int],
    mirrored: Sequence[str | None] | None = None,
) -> list[list[Prediction]]:
    """Draw the masks of each given answer, one for each `[SEG]` (late fusion: one); see `predict`."""

    def drawn(pictures: Pictures, asked: Sequence[str], replies: Sequence[str]) -> LisaOutput:
        batch = collator.inputs(pictures.images, asked, replies, image_index)
        output: LisaOutput = model(to_device(batch, _device(model)), pictures.state)
        return output

    output = drawn(encoded, questions, answers)
    if model.config.flip_test and mirrored is not None:
        replies = [mirrored_answer(reply) for reply in answers]
        # Drawn even where no words are mirrored: with weights that are shared out, all processes draw or none does.
        other = drawn(
            _mirrored(model, collator, encoded),
            [there or here for there, here in zip(mirrored, questions)],
            [there or here for there, here in zip(replies, answers)],
        )
        output = mean_with_mirrored(output, other, [None not in turn for turn in zip(mirrored, replies)])
    rows: list[list[Prediction]] = [[] for _ in questions]
    for row, prediction in _full_size(model, output, encoded, image_index):
        rows[row].append(prediction)
    return rows


def _mirrored(model: LisaModel, collator: Collator, encoded: Pictures) -> Pictures:
    """The mirrored pictures, encoded when they are first asked about."""
    if encoded.mirrored is None:
        encoded.mirrored = encode(model, collator, [ImageOps.mirror(image) for image in encoded.images])
    return encoded.mirrored


@torch.no_grad()
def predict_generated(
    model: LisaModel,
    collator: Collator,
    encoded: Pictures,
    questions: Sequence[str],
    image_index: Sequence[int],
    max_new_tokens: int = 32,
) -> list[Reply]:
    """Let the model write its answers, and draw a mask for each `[SEG]` in them (Sa2VA's generated protocol).

    A mask's state comes from one pass over question and answer, as in training; it is generation's own. There is no
    flip test of it: in the mirrored picture the model may say something else.

    Args:
        model: in evaluation mode, with joint fusion.
        collator: made for this model.
        encoded: U pictures.
        questions: N user turns.
        image_index: for each question, which picture it is about; must name every picture.
        max_new_tokens: longest answer, in tokens.

    Raises:
        ConfigError: if the model writes nothing that its masks depend on.
    """
    if model.config.fusion != "joint":
        raise ConfigError(
            f"with --fusion {model.config.fusion} the model draws without answering: evaluate it teacher-forced"
        )
    batch = to_device(collator.inputs(encoded.images, questions, None, image_index), _device(model))
    half = model.half_dtype
    with nullcontext() if half is None else torch.autocast(_device(model).type, half):
        ids = model.vlm.generate(batch, max_new_tokens=max_new_tokens)
    output = model(model.vlm.continued(batch, ids), encoded.state)
    lengths = batch["attention_mask"].sum(1).tolist()
    replies = [Reply(_said(collator, row[length:]), []) for row, length in zip(ids, lengths)]
    for row, prediction in _full_size(model, output, encoded, image_index):
        replies[row].masks.append(prediction)
    return replies


def _said(collator: Collator, ids: Tensor) -> str:
    """The reply's words; rows that ended before others of their batch are padded."""
    tokenizer = collator.vlm.tokenizer
    return tokenizer.decode([token for token in ids.tolist() if token != tokenizer.pad_token_id])


def _full_size(
    model: LisaModel, output: LisaOutput, encoded: Pictures, image_index: Sequence[int]
) -> Iterator[tuple[int, Prediction]]:
    """Each mask at its picture's own size, with the row that it is for."""
    rows, masks = output.of_drawn(output.rows).tolist(), output.mask_logits.float()
    if model.config.mask_temperature is not None:
        masks = masks - expected_iou_cut(masks, model.config.mask_temperature)[:, None, None]
    for row, logits, iou in zip(rows, masks, output.iou.tolist()):
        width, height = encoded.images[image_index[row]].size
        full = F.interpolate(logits[None, None], size=(height, width), mode="bilinear", align_corners=False)
        yield row, Prediction(full[0, 0], iou)


def _device(model: LisaModel) -> torch.device:
    # What is offloaded is on no device between two passes.
    return next(parameter.device for parameter in model.parameters() if not parameter.is_meta)
