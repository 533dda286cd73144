"""SmolVLM and Idefics3: a SigLIP tower, pixel shuffle and a Llama; the whole picture is the last, square tile."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from lisa_core import HFVLM, Batch, ConfigError, check_side, resize_vision_tower
from lisa_smolvlm.tiny import tiny_smolvlm

_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ ' ' + part['text'] }}"
    "{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)


class SmolVLM(HFVLM):
    """`Idefics3ForConditionalGeneration` and `SmolVLMForConditionalGeneration`."""

    family: ClassVar[str] = "smolvlm"
    model_types: ClassVar[tuple[str, ...]] = ("idefics3", "smolvlm")
    chat_template: ClassVar[str] = _TEMPLATE
    fixed_grid: ClassVar[bool] = True

    def configure(self, image_splitting: bool | None = None, longest_edge: int | None = None) -> None:
        """Choose whether crops of the picture are read too, and how large the picture is that they are cut from.

        Raises:
            ConfigError: if a picture of that size has more crops than the tokenizer has names for, or no pixels.
        """
        images = self.processor.image_processor
        if image_splitting is not None:
            images.do_image_splitting = image_splitting
        if longest_edge is None:
            return
        # A crop is announced by `<row_R_col_C>`; where there is no such token the processor writes it in pieces.
        vocabulary = self.tokenizer.get_vocab()
        named = sum(f"<row_{number}_col_{number}>" in vocabulary for number in range(1, 100))
        most = named * images.max_image_size["longest_edge"]
        if longest_edge < 1:
            raise ConfigError(f"longest_edge={longest_edge} is no size in pixels: give 1 or more")
        if images.do_image_splitting and longest_edge > most:
            raise ConfigError(
                f"longest_edge={longest_edge} makes more crops than the model can tell apart: at most {most}"
            )
        images.size = {"longest_edge": longest_edge}

    def resize_images(self, side: int) -> None:
        """Fit the tower's positions to another size of its tiles; the picture they are cut from keeps as many."""
        config, images = self.model.config, self.processor.image_processor
        vision, scale, before = config.vision_config, config.scale_factor, config.vision_config.image_size
        if side == before:
            return
        check_side(side, vision.patch_size * scale)  # blocks of patches become one token
        resize_vision_tower(self.vision_tower, side, vision)
        images.max_image_size = {"longest_edge": side}
        images.size = {"longest_edge": images.size["longest_edge"] * side // before}
        self.processor.image_seq_len = (side // vision.patch_size // scale) ** 2

    def image_grid(self, output: Any, batch: Batch) -> Tensor:
        """The global tile of each image: the whole picture squashed to a square, so nothing of the grid is padding."""
        vision = self.model.config.vision_config
        side = vision.image_size // vision.patch_size
        tokens_per_tile = (side // self.model.config.scale_factor) ** 2
        tiles = [len(image) // tokens_per_tile for image in output.pooler_output]
        last = torch.tensor(tiles).cumsum(0) - 1  # the processor puts the global tile after the crops
        raw = output.last_hidden_state[last.to(output.last_hidden_state.device)]  # [U,N,Dv]
        return raw.transpose(1, 2).unflatten(2, (side, side))

    @classmethod
    def tiny(cls) -> SmolVLM:
        """A small SmolVLM; see `tiny.py`."""
        return cls(*tiny_smolvlm())
