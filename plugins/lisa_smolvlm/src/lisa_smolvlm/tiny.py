"""A small SmolVLM with random weights: the real classes, an offline tokenizer and processor."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    SmolVLMConfig,
    SmolVLMForConditionalGeneration,
    SmolVLMImageProcessor,
    SmolVLMProcessor,
    SmolVLMVideoProcessor,
)

from lisa_core import (
    TINY_IMAGE,
    TINY_PATCH,
    TINY_WIDTH,
    grid_positions,
    tiny_text_config,
    tiny_tokenizer,
    tiny_vision_config,
)

_SCALE = 3


def tiny_smolvlm() -> tuple[Any, Any]:
    """Model and processor: 96-pixel pictures in 8-pixel patches, 16 image tokens, about two million parameters."""
    rows = [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    tokenizer = tiny_tokenizer(["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *rows])
    ids = tokenizer.get_vocab()
    config = SmolVLMConfig(
        image_token_id=ids["<image>"],
        scale_factor=_SCALE,
        vision_config=tiny_vision_config(),
        text_config=tiny_text_config(tokenizer, model_type="llama", eos_token_id=ids["<end_of_utterance>"]),
    )
    longest = {"longest_edge": TINY_IMAGE}
    side = TINY_IMAGE // TINY_PATCH
    processor = SmolVLMProcessor(
        image_processor=SmolVLMImageProcessor(size=longest, max_image_size=longest, do_image_splitting=False),
        tokenizer=tokenizer,
        video_processor=SmolVLMVideoProcessor(size=longest, max_image_size=longest),
        image_seq_len=(side // _SCALE) ** 2,
    )
    model = SmolVLMForConditionalGeneration(config)
    with torch.no_grad():
        model.model.vision_model.embeddings.position_embedding.weight.copy_(grid_positions(side, TINY_WIDTH))
    return model, processor
