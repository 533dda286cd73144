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
from lisa_core.prompts import answer, question
from lisa_core.sam import SamSize, sam_pixels
from lisa_core.text import plain_words
from lisa_core.types import IGNORE
from lisa_core.vlm import VLM, Batch


class Collator:
    """Builds batches for a model.

    Args:
        vlm: gives `preprocess`; its weights are not used, so the collator may run in a worker process.
        config: fusion and mask features decide what a batch holds.
        sam: shape of SAM's parts; gives the side of the encoder's input and of the targets.
    """

    def __init__(self, vlm: VLM, config: ModelConfig, sam: SamSize) -> None:
        self.vlm = vlm
        self.config = config
        self.sam = sam

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
        questions = [plain_words(self.vlm.tokenizer, text) for text in questions]
        batch = self.vlm.preprocess(images, questions, answers, image_index, joint=self.config.fusion == "joint")
        if self.config.mask_features == "sam":
            pixels, content = zip(*(sam_pixels(image, self.sam.image_size) for image in images))
            batch["sam_pixels"], batch["sam_content"] = torch.stack(pixels), torch.stack(content)
        return batch

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """A training batch of N examples.

        Returns:
            the inputs; `targets` and `valid`, float [N,s,s] with s = `sam.mask_size`: the share of each cell that is
            target, and that counts; `sample_ids`.
        """
        images, index = unique_images(examples)
        batch = self.inputs(
            images,
            [question(example.sample.text, example.sample.is_sentence) for example in examples],
            [answer(self._explanation(example)) for example in examples],
            index,
        )
        targets, valid = zip(*(target_raster(example.mask, self.sam.mask_size) for example in examples))
        batch["targets"], batch["valid"] = torch.stack(targets), torch.stack(valid)
        batch["sample_ids"] = [example.sample.id for example in examples]
        return batch

    def _explanation(self, example: Example) -> str | None:
        words = example.sample.answer
        return None if words is None else plain_words(self.vlm.tokenizer, words)


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
