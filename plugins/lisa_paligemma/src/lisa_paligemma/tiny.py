"""Small PaliGemma models with random weights: the real classes, an offline tokenizer and processor."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PaliGemmaConfig, PaliGemmaForConditionalGeneration, PaliGemmaProcessor, SiglipImageProcessor

from lisa_core import (
    TINY_IMAGE,
    TINY_PATCH,
    TINY_WIDTH,
    grid_positions,
    tiny_text_config,
    tiny_tokenizer,
    tiny_vision_config,
)


def tiny_paligemma(text_type: str = "gemma") -> tuple[Any, Any]:
    """Model and processor of PaliGemma, or with `gemma2` of PaliGemma 2: 96-pixel pictures, 144 image tokens."""
    tokenizer = tiny_tokenizer(["<image>"])
    side = TINY_IMAGE // TINY_PATCH
    images: Any = SiglipImageProcessor(size={"height": TINY_IMAGE, "width": TINY_IMAGE})
    images.image_seq_length = side * side
    processor = PaliGemmaProcessor(image_processor=images, tokenizer=tokenizer)  # adds tokens to its tokenizer
    config = PaliGemmaConfig(
        image_token_index=processor.image_token_id,
        projection_dim=TINY_WIDTH,
        vision_config=tiny_vision_config(
            model_type="siglip_vision_model", vision_use_head=False, projection_dim=TINY_WIDTH
        ),
        text_config=tiny_text_config(tokenizer, model_type=text_type, head_dim=TINY_WIDTH // 4),
    )
    model = PaliGemmaForConditionalGeneration(config)
    with torch.no_grad():
        model.model.vision_tower.embeddings.position_embedding.weight.copy_(grid_positions(side, TINY_WIDTH))
    return model, processor


def tiny_paligemma2() -> tuple[Any, Any]:
    """Model and processor of PaliGemma 2."""
    return tiny_paligemma("gemma2")
