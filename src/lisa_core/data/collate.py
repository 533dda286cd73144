"""Examples to one batch: pictures encoded once, sentences as rows, masks in the frame of the picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lisa_core.config import ModelConfig
from lisa_core.data.base import Example
from lisa_core.data.targets import declines_to_draw, first_of_each, target_raster, targets_of
from lisa_core.errors import ConfigError
from lisa_core.feature_cache import PictureStores
from lisa_core.prompts import Dialogue, answer, conversation, nothing, question, several_masks
from lisa_core.sam import SamSize, sam_pixels
from lisa_core.text import plain_question, plain_words
from lisa_core.vlm import VLM, Batch

_FINE_SIDE = 384
"""Longest side of what the convolutional stem sees, in pixels."""


class Collator:
    """Builds batches for a model.

    Args:
        vlm: gives `preprocess`; its weights are not used, so the collator may run in a worker process.
        config: fusion and mask features decide what a batch holds.
        sam: shape of SAM's parts; gives the side of the encoder's input, and the largest one of targets.
        stores: features of pictures that were encoded before, if there are such.
        turns: most sentences of a picture that a training batch asks in one conversation (joint fusion).
        draw_each: `OptimConfig.draw_each`.

    Raises:
        ConfigError: if there are to be conversations and the family knows none.
    """

    def __init__(
        self,
        vlm: VLM,
        config: ModelConfig,
        sam: SamSize,
        stores: PictureStores | None = None,
        turns: int = 1,
        draw_each: str = "sentence",
    ) -> None:
        if turns > 1 and not vlm.knows_turns:
            raise ConfigError(f"--vlm {vlm.family} knows no conversations: leave --turns {turns} out")
        self.turns = turns if config.fusion == "joint" else 1
        self.draw_each = draw_each
        self.vlm = vlm
        self.config = config
        self.sam = sam
        self.stores = stores or PictureStores(None, None)

    @property
    def mask_side(self) -> int:
        """Cells a side of targets: those of SAM's masks, or of what is drawn, if that is known to be fewer."""
        grid = self.vlm.grid_side if self.config.mask_features == "vlm" else None
        return self.sam.mask_size if grid is None else min(4 * grid, self.sam.mask_size)

    def inputs(
        self,
        images: Sequence[Image.Image],
        questions: Sequence[str],
        answers: Sequence[str] | None,
        image_index: Sequence[int],
    ) -> Batch:
        """The model's inputs for N questions about U pictures, without targets.

        Special tokens among the words of a question are read as words; those of an answer stay what they are, also of
        the earlier ones of a `Dialogue` that are taught.
        """
        known = self.stores.read(images)
        joint = self.config.fusion == "joint"
        batch: Batch
        if "feature_grid" in known and not joint:
            batch = {"image_index": torch.tensor(list(image_index)), **self.text_inputs(questions)}
        else:
            questions = [plain_question(self.vlm.tokenizer, text) for text in questions]
            batch = self.vlm.preprocess(images, questions, answers, image_index, joint=joint)
        batch.update(known)
        if self.config.mask_features == "sam" and "sam_features" not in batch:
            pixels, content = zip(*(sam_pixels(image, self.sam.image_size) for image in images))
            batch["sam_pixels"], batch["sam_content"] = torch.stack(pixels), torch.stack(content)
        if self.config.fine_features:
            side = min(4 * self.mask_side, _FINE_SIDE)
            batch["fine_pixels"] = torch.stack([fine_pixels(image, side) for image in images])
        return batch

    def picture_inputs(self, images: Sequence[Image.Image]) -> Batch:
        """What encoders of pictures read of U of them; the words beside them mean nothing."""
        # The processors of most families take a text beside each picture; which one does not matter to the picture.
        return self.inputs(images, [""] * len(images), None, range(len(images)))

    def text_inputs(self, questions: Sequence[str]) -> Batch:
        """What the language model alone reads of N questions (late fusion)."""
        return self.vlm.preprocess_text([plain_question(self.vlm.tokenizer, text) for text in questions])

    def __call__(self, examples: Sequence[Example]) -> Batch:
        """A training batch.

        A row asks one example, or several of a picture in one conversation: see `conversations`.

        Returns:
            the inputs of N rows; `targets` and `valid`, float [M,s,s] with s = `mask_side`: the share of each cell
            that is target, and that counts; `seg_row`, int64 [M]: the row whose answers draw it; `drawn`, int64 [K]:
            which of the M the mask decoder draws, unless that is all; `turns`, int64 [N]: how many examples a row asks;
            `datasets`, N names; `sample_ids`, a name for each example. M is the number of examples, unless answers have
            several masks or none.
        """
        images, index = unique_images(examples)
        several = self.config.fusion == "joint"
        rows = conversations(examples, index, self.turns)
        said = [
            conversation([(self.question_of(example), self.answer_of(example)) for example in row]) for _, row in rows
        ]
        batch = self.inputs(
            images, [asked for asked, _ in said], [reply for _, reply in said], [image for image, _ in rows]
        )
        masks = [
            (number, mask)
            for number, (_, row) in enumerate(rows)
            for example in row
            for mask in targets_of(example, several)
        ]
        # Phrasings of one target may share its mask.
        different = {id(mask): mask for _, mask in masks}
        by_mask = {key: target_raster(mask, self.mask_side) for key, mask in different.items()}
        rasters = [by_mask[id(mask)] for _, mask in masks]
        none = torch.zeros(0, self.mask_side, self.mask_side)
        batch["targets"] = torch.stack([target for target, _ in rasters]) if masks else none
        batch["valid"] = torch.stack([valid for _, valid in rasters]) if masks else none
        batch["seg_row"] = torch.tensor([row for row, _ in masks], dtype=torch.int64)
        if self.draw_each == "target":
            # What datasets have in common stays apart: each one's figures are over its own masks.
            places = [(rows[number][0], rows[number][1][0].sample.dataset) for number, _ in masks]
            firsts = first_of_each(batch["targets"], batch["valid"], places)
            if len(firsts) < len(masks):
                batch["drawn"] = torch.tensor(firsts)
        batch["sample_ids"] = [example.sample.id for example in examples]
        batch["turns"] = torch.tensor([len(row) for _, row in rows])
        batch["datasets"] = [row[0].sample.dataset for _, row in rows]
        if len(rows) < len(examples):
            self._check_conversations(batch)
        return batch

    def _check_conversations(self, batch: Batch) -> None:
        """Raise ConfigError unless every `[SEG]` of the rows is read and learnt: an adapter may know no turns."""
        masks = torch.bincount(batch["seg_row"], minlength=len(batch["turns"]))
        for key in ("input_ids", "labels"):
            if not torch.equal((batch[key] == self.vlm.seg_token_id).sum(1), masks):
                raise ConfigError(
                    f"the adapter of --vlm {self.vlm.family} does not teach every turn of a conversation: leave "
                    "--turns out, and let it say `knows_turns = False`"
                )

    def question_of(self, example: Example) -> str:
        """The user turn that an example asks."""
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
        if example.wording is not None and declines_to_draw(example):
            return nothing(example.wording)
        return answer(words, example.wording)


def conversations(examples: Sequence[Example], index: Sequence[int], turns: int) -> list[tuple[int, list[Example]]]:
    """Examples as rows: those of one picture and dataset that stand in a row together, up to `turns` of them.

    An answer in words alone, and a question that has others before it already, are rows of their own.

    Args:
        examples: of a batch.
        index: for each of them which picture it shows.
        turns: most examples of a row.

    Returns:
        the picture of each row and its examples, all in their order.
    """
    rows: list[tuple[int, list[Example]]] = []
    for example, image in zip(examples, index):
        if rows and rows[-1][0] == image and len(rows[-1][1]) < turns and _joins(rows[-1][1][-1], example):
            rows[-1][1].append(example)
        else:
            rows.append((image, [example]))
    return rows


def _joins(one: Example, other: Example) -> bool:
    """Whether two examples of one picture may be turns of one conversation."""
    alone = any(example.sample.kind == "text" or example.earlier for example in (one, other))
    return not alone and one.sample.dataset == other.sample.dataset


def unique_images(examples: Sequence[Example]) -> tuple[list[Image.Image], list[int]]:
    """The different pictures among the examples, compared by content, and for each example which one it shows."""
    of_object: dict[int, int] = {}  # examples that were decoded together share the object: a short cut
    of_content: dict[tuple[tuple[int, int], bytes], int] = {}
    images: list[Image.Image] = []
    index: list[int] = []
    for example in examples:
        image = example.image
        if id(image) not in of_object:
            number = of_content.setdefault((image.size, image.tobytes()), len(images))
            of_object[id(image)] = number
            if number == len(images):
                images.append(image)
        index.append(of_object[id(image)])
    return images, index


def fine_pixels(image: Image.Image, side: int) -> Tensor:
    """The picture squashed to a square, uint8 [3,side,side]: a quarter of what a worker would hand over as float32."""
    small = image.resize((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1)
