"""Small LLaVA models with random weights: the real classes, an offline tokenizer and processor."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    CLIPImageProcessor,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaNextConfig,
    LlavaNextForConditionalGeneration,
    LlavaNextImageProcessor,
    LlavaNextProcessor,
    LlavaProcessor,
)

from lisa_core import (
    TINY_IMAGE,
    TINY_WIDTH,
    grid_positions,
    tiny_text_config,
    tiny_tokenizer,
    tiny_vision_config,
)

# In pixels; larger than other families' tiny models have them, as LLaVA gives the language model a token for each.
_PATCH = 12


def _parts(text_type: str) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Tokenizer, config values and processor values that both models share."""
    tokenizer = tiny_tokenizer(["<image>"])
    config = {
        "image_token_index": tokenizer.get_vocab()["<image>"],
        # The projector reads the layer before the last: one more than elsewhere, so that four are used.
        "vision_config": tiny_vision_config(
            model_type="clip_vision_model", patch_size=_PATCH, num_hidden_layers=5, initializer_range=0.02
        ),
        "text_config": tiny_text_config(tokenizer, model_type=text_type),
        "vision_feature_layer": -2,
    }
    processor = {"patch_size": _PATCH, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
    return tokenizer, config, processor


def _with_positions(model: Any) -> Any:
    with torch.no_grad():  # row 0 is the class token's
        table = model.model.vision_tower.embeddings.position_embedding.weight
        table[1:] = grid_positions(TINY_IMAGE // _PATCH, TINY_WIDTH)
    return model


def tiny_llava() -> tuple[Any, Any]:
    """Model and processor of LLaVA-1.5: 96-pixel pictures, 64 image tokens."""
    tokenizer, config, options = _parts("llama")
    square = {"height": TINY_IMAGE, "width": TINY_IMAGE}
    images = CLIPImageProcessor(size={"shortest_edge": TINY_IMAGE}, crop_size=square)
    processor = LlavaProcessor(image_processor=images, tokenizer=tokenizer, **options)
    return _with_positions(LlavaForConditionalGeneration(LlavaConfig(**config))), processor


def tiny_llava_next() -> tuple[Any, Any]:
    """Model and processor of LLaVA-NeXT: 96-pixel tiles, two to four of them beside the base tile."""
    tokenizer, config, options = _parts("mistral")
    side = TINY_IMAGE
    pinpoints = [[side, 2 * side], [2 * side, side], [2 * side, 2 * side], [3 * side, side], [side, 3 * side]]
    images = LlavaNextImageProcessor(
        size={"shortest_edge": side}, crop_size={"height": side, "width": side}, image_grid_pinpoints=pinpoints
    )
    processor = LlavaNextProcessor(image_processor=images, tokenizer=tokenizer, **options)
    config["image_grid_pinpoints"] = pinpoints
    return _with_positions(LlavaNextForConditionalGeneration(LlavaNextConfig(**config))), processor
