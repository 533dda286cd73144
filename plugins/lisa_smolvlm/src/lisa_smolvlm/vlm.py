"""SmolVLM and Idefics3: a SigLIP tower, pixel shuffle and a Llama; the whole picture is the last, square tile."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers import (
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from lisa_core import HFVLM, Batch, full_content, grid_positions, tiny_tokenizer

_CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message['role'] | capitalize }}:"
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %}{{ ' ' + part['text'] }}"
    "{% endif %}{% endfor %}<end_of_utterance>\n{% endfor %}{% if add_generation_prompt %}Assistant:{% endif %}"
)

# The usual 0.02 suits wide models. At this width it lets a sentence change the state at [SEG] by 0.03% of its power,
# which then takes a thousand steps to learn from; about 1/sqrt(width) keeps signals alive from the first step.
_INITIALIZER_RANGE = 0.08


class SmolVLM(HFVLM):
    """`Idefics3ForConditionalGeneration` and `SmolVLMForConditionalGeneration`."""

    family: ClassVar[str] = "smolvlm"
    model_types: ClassVar[tuple[str, ...]] = ("idefics3", "smolvlm")

    def image_grid(self, output: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        """The global tile of each image: the whole picture squashed to a square, so nothing of the grid is padding."""
        vision = self.model.config.vision_config
        side = vision.image_size // vision.patch_size
        tokens_per_tile = (side // self.model.config.scale_factor) ** 2
        tiles = [len(image) // tokens_per_tile for image in output.pooler_output]
        last = torch.tensor(tiles).cumsum(0) - 1  # the processor puts the global tile after the crops
        raw = output.last_hidden_state[last.to(output.last_hidden_state.device)]  # [U,N,Dv]
        grid = raw.transpose(1, 2).unflatten(2, (side, side))
        return grid, full_content(len(grid), grid.device)

    @classmethod
    def tiny(cls) -> SmolVLM:
        """About two million parameters: 96-pixel images in 8-pixel patches, three language layers."""
        rows = [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
        tokenizer = tiny_tokenizer(
            ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *rows]
        )
        size, patch, scale, width = 96, 8, 3, 128
        config = SmolVLMConfig(
            image_token_id=tokenizer.get_vocab()["<image>"],
            scale_factor=scale,
            vision_config={
                "hidden_size": width,
                "intermediate_size": 2 * width,
                "num_hidden_layers": 4,
                "num_attention_heads": 4,
                "image_size": size,
                "patch_size": patch,
                "initializer_range": _INITIALIZER_RANGE,
            },
            text_config={
                "model_type": "llama",
                "hidden_size": width,
                "intermediate_size": 3 * width,
                "num_hidden_layers": 3,
                "num_attention_heads": 4,
                "num_key_value_heads": 4,
                "vocab_size": len(tokenizer) + 1,  # [SEG]
                "max_position_embeddings": 4096,
                "initializer_range": _INITIALIZER_RANGE,
                "pad_token_id": tokenizer.pad_token_id,
                "bos_token_id": tokenizer.bos_token_id,
                "eos_token_id": tokenizer.get_vocab()["<end_of_utterance>"],
            },
        )
        longest = {"longest_edge": size}
        processor = SmolVLMProcessor(
            image_processor=SmolVLMImageProcessor(size=longest, max_image_size=longest, do_image_splitting=False),
            tokenizer=tokenizer,
            video_processor=SmolVLMVideoProcessor(size=longest, max_image_size=longest),
            image_seq_len=(size // patch // scale) ** 2,
            chat_template=_CHAT_TEMPLATE,
        )
        model = SmolVLMForConditionalGeneration(config)
        with torch.no_grad():
            model.model.vision_model.embeddings.position_embedding.weight.copy_(grid_positions(size // patch, width))
        return cls(model, processor)
