"""PaliGemma and PaliGemma 2: a SigLIP tower and a Gemma that reads picture and question as one, then answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from lisa_core import HFVLM, Batch, resize_vision_tower
from lisa_paligemma.tiny import tiny_paligemma


class PaliGemma(HFVLM):
    """`PaliGemmaForConditionalGeneration`.

    It has no chat: a row is the prefix (picture and question, each position seeing all of it) and the suffix (the
    answer, read in order). `token_type_ids` tell the two apart (arXiv:2407.07726, section 3.1).
    """

    family: ClassVar[str] = "paligemma"
    model_types: ClassVar[tuple[str, ...]] = ("paligemma",)
    knows_turns: ClassVar[bool] = False
    fixed_grid: ClassVar[bool] = True

    def resize_images(self, side: int) -> None:
        """Fit the tower's positions to another size; the row has an image token for each patch."""
        vision, images = self.model.config.vision_config, self.processor.image_processor
        resize_vision_tower(self.vision_tower, side, vision)
        images.size = {"height": side, "width": side}
        count = (side // vision.patch_size) ** 2
        images.image_seq_length = self.processor.image_seq_length = count

    def rows(self, questions: Sequence[str], answers: Sequence[str] | None) -> tuple[list[str], list[str]]:
        """Prefixes and suffixes; the processor itself adds the marks between them."""
        return [f"{self.processor.image_token}{question}" for question in questions], list(answers or ())

    def process(self, prompts: Sequence[str], replies: Sequence[str], images: Sequence[Image.Image]) -> dict[str, Any]:
        """Answers go in as suffixes, for the processor to write `token_type_ids` by."""
        return self.processor(
            text=list(prompts),
            images=[[image] for image in images],
            suffix=list(replies) or None,
            padding=True,
            return_tensors="pt",
        )

    @property
    def continuation_values(self) -> dict[str, int]:
        """What was generated belongs to the suffix."""
        return {"token_type_ids": 1}

    def encode_text(self, batch: Batch) -> Tensor:
        """The sentence as a prefix: [N,L',Dt], each position seeing all of it."""
        ids = batch["text_input_ids"]
        # Through the whole model: Gemma called by itself reads padded rows in order and others both ways.
        return self.model.model(
            input_ids=ids,
            attention_mask=batch["text_attention_mask"],
            token_type_ids=torch.zeros_like(ids),
            use_cache=False,
        ).last_hidden_state

    def image_grid(self, output: Any, batch: Batch) -> Tensor:
        """SigLIP has no class token: its states are the grid, row by row."""
        vision = self.model.config.vision_config
        side = vision.image_size // vision.patch_size
        return output.last_hidden_state.transpose(1, 2).unflatten(2, (side, side))

    @classmethod
    def tiny(cls) -> PaliGemma:
        """A small PaliGemma; see `tiny.py`."""
        return cls(*tiny_paligemma())
