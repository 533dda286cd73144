"""Examples to one batch: pictures encoded once, sentences as rows, masks in the frame of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from lisa_core.config import ModelConfig
from lisa_core.data.base import Example
from lisa_core.feature_cache import PictureStores
from lisa_core.prompts import Dialogue, answer, declines, nothing, question, several_masks
from lisa_core.sam import SamSize, sam_pixels
from lisa_core.text import plain_question, plain_words
from lisa_core.types import IGNORE
from lisa_core.vlm import VLM, Batch

_FINE_SIDE = 384
"""Longest side of what the convolutional stem sees, in pixels."""


class Collator:
    """Builds batches for a model.

    Args:
        vlm: gives `preprocess`; its weights are not used, so the collator may run in a worker process.
        config: fusion and mask features decide what a batch holds.
        sam: shape of SAM's parts; gives the side of the encoder's input and of the targets.
        stores: features of pictures that were encoded before, if there are such.
    """

    def __init__(self, vlm: VLM, config: ModelConfig, sam: SamSize, stores: PictureStores | None = None) -> None:
        self.vlm = vlm
        self.config = config
        self.sam = sam
        self.stores = stores or PictureStores(None, None)

    def inputs(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[str],
        answers: Sequence[str] | None,
        image_index: Sequence[int],
    ) -> Batch:
        """The model's inputs for N questions about U pictures, without targets.

        Special tokens among the words of a question are read as words; those of an answer stay what they are.
        """
        questions = [plain_question(self.vlm.tokenizer, text) for text in questions]
        known = self.stores.read(images)
        joint = self.config.fusion == "joint"
        batch: Batch
        if "feature_grid" in known and not joint:
            batch = {"image_index": torch.tensor(list(image_index)), **self.vlm.preprocess_text(questions)}
        else:
            batch = self.vlm.preprocess(images, questions, answers, image_index, joint=joint)
        batch.update(known)
        if self.config.mask_features == "sam" and "sam_features" not in batch:
            pixels, content = zip(*(sam_pixels(image, self.sam.image_size) for image in images))
            batch["sam_pixels"], batch["sam_content"] = torch.stack(pixels), torch.stack(content)
        if self.config.fine_features:
            side = min(4 * self.sam.mask_size, _FINE_SIDE)
            batch["fine_pixels"] = torch.stack([fine_pixels(image, side) for image in images])
        return batch

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """A training batch of N examples.

        Returns:
            the inputs; `targets` and `valid`, float [M,s,s] with s = `sam.mask_size`: the share of each cell that is
            target, and that counts; `seg_row`, int64 [M]: the row whose answer draws it; `sample_ids` and `datasets`,
            N names each. M is N, unless answers have several masks or none.
        """
        images, index = unique_images(examples)
        several = self.config.fusion == "joint"
        batch = self.inputs(
            images,
            [self._question(example) for example in examples],
            [self.answer_of(example) for example in examples],
            index,
        )
        masks = [(row, mask) for row, example in enumerate(examples) for mask in targets_of(example, several)]
        rasters = [target_raster(mask, self.sam.mask_size) for _, mask in masks]
        none = torch.zeros(0, self.sam.mask_size, self.sam.mask_size)
        batch["targets"] = torch.stack([target for target, _ in rasters]) if masks else none
        batch["valid"] = torch.stack([valid for _, valid in rasters]) if masks else none
        batch["seg_row"] = torch.tensor([row for row, _ in masks], dtype=torch.int64)
        batch["sample_ids"] = [example.sample.id for example in examples]
        batch["datasets"] = [example.sample.dataset for example in examples]
        return batch

    def _question(self, example: Example) -> str:
        sample = example.sample
        explains = sample.kind == "mask" and sample.answer is not None
        asked = sample.text
        if sample.kind != "text":
            asked = question(asked, sample.is_sentence, example.wording, explains)
        return Dialogue(asked, example.earlier) if example.earlier else asked

    def answer_of(self, example: Example) -> str:
        """The assistant turn that an example teaches."""
        words = example.sample.answer
        words = None if words is None else plain_words(self.vlm.tokenizer, words)
        if example.sample.kind == "text":
            return words or ""
        if example.sample.kind == "masks":
            return several_masks(words, len(targets_of(example, several=True)))
        if example.wording is not None and _declines(example):
            return nothing(example.wording)
        return answer(words, example.wording)


def targets_of(example: Example, several: bool) -> list[np.ndarray]:
    """The masks that an example's answer draws, uint8 [H,W] each.

    Args:
        example: decoded.
        several: whether an answer may draw more than one; else it draws their union.
    """
    if example.sample.kind == "text" or (several and _declines(example)):
        return []
    return example.masks if several and example.sample.kind == "masks" and example.masks else [example.mask]


def _declines(example: Example) -> bool:
    """Whether the answer says in words that there is no such object."""
    return example.sample.kind == "mask" and example.sample.no_target and declines(example.wording)


def unique_images(examples: Sequence[Example]) -> tuple[list[Image.Image], list[int]]:
    """The different pictures among the examples, compared by content, and for each example which one it shows."""
    seen: dict[tuple[tuple[int, int], bytes], int] = {}
    images: list[Image.Image] = []
    index: list[int] = []
    for example in examples:
        key = (example.image.size, example.image.tobytes())
        if key not in seen:
            seen[key] = len(images)
            images.append(example.image)
        index.append(seen[key])
    return images, index


def fine_pixels(image: Image.Image, side: int) -> Tensor:
    """The picture squashed to a square and normalized, float32 [3,side,side]."""
    small = image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    pixels = torch.from_numpy(np.array(small, dtype=np.float32)).permute(2, 0, 1)
    return pixels / 127.5 - 1


def target_raster(mask: np.ndarray, size: int) -> tuple[Tensor, Tensor]:
    """A mask squashed to a square by area.

    Args:
        mask: uint8 [H,W] of 0, 1 and 255 (ignored).
        size: cells a side.

    Returns:
        target: float32 [size,size], the share of each cell's counted pixels that are target;
        valid: float32 [size,size], the share of each cell's pixels that count.
    """
    counted = torch.from_numpy(mask != IGNORE).float()
    target = torch.from_numpy(mask == 1).float()
    both = F.interpolate(torch.stack([target, counted])[None], size=(size, size), mode="area")[0]
    return both[0] / both[1].clamp(min=1e-6), both[1]
