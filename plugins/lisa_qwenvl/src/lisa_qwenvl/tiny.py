"""Small Qwen-VL models with random weights: the real classes, an offline tokenizer and processor."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
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

_MERGE = 2
_HEADS = 4
# Shares of a head's rotary frequencies for time, height and width; they sum to half a head.
_SECTIONS = [4, 6, 6]


def _parts(processor_class: Any, video_class: Any = Qwen2VLVideoProcessor) -> tuple[Any, dict[str, Any]]:
    """Processor, and the config values that all three models share."""
    marks = ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = tiny_tokenizer(marks)
    ids = tokenizer.get_vocab()
    # Pictures of about 96 x 96 pixels at their own shape: 36 image tokens.
    area = {"shortest_edge": TINY_IMAGE**2 // 2, "longest_edge": TINY_IMAGE**2}
    shape: dict[str, Any] = {"patch_size": TINY_PATCH, "merge_size": _MERGE, "size": area}
    images, videos = Qwen2VLImageProcessor(**shape), video_class(**shape)
    processor = processor_class(image_processor=images, tokenizer=tokenizer, video_processor=videos)
    config = {
        "image_token_id": ids["<|image_pad|>"],
        "video_token_id": ids["<|video_pad|>"],
        "vision_start_token_id": ids["<|vision_start|>"],
        "vision_end_token_id": ids["<|vision_end|>"],
        "text_config": tiny_text_config(
            tokenizer,
            head_dim=TINY_WIDTH // _HEADS,
            rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": _SECTIONS},
            eos_token_id=ids["<|im_end|>"],
            tie_word_embeddings=False,
        ),
        "tie_word_embeddings": False,
    }
    return processor, config


def _vision(**changes: Any) -> dict[str, Any]:
    sizes = tiny_vision_config()
    for name in ("image_size", "num_attention_heads", "num_hidden_layers"):
        del sizes[name]
    return {**sizes, "depth": 4, "num_heads": _HEADS, "spatial_merge_size": _MERGE, "temporal_patch_size": 2, **changes}


def tiny_qwen2() -> tuple[Any, Any]:
    """Model and processor of Qwen2-VL."""
    processor, config = _parts(Qwen2VLProcessor)
    vision = _vision(embed_dim=TINY_WIDTH, mlp_ratio=2)
    del vision["intermediate_size"]
    return Qwen2VLForConditionalGeneration(Qwen2VLConfig(vision_config=vision, **config)), processor


def tiny_qwen2_5() -> tuple[Any, Any]:
    """Model and processor of Qwen2.5-VL: windows of 2 x 2 merge blocks, every second layer with full attention."""
    processor, config = _parts(Qwen2_5_VLProcessor)
    window = 2 * _MERGE * TINY_PATCH
    vision = _vision(out_hidden_size=TINY_WIDTH, window_size=window, fullatt_block_indexes=[1, 3])
    return Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(vision_config=vision, **config)), processor


def tiny_qwen3() -> tuple[Any, Any]:
    """Model and processor of Qwen3-VL: learned positions, features of two inner layers for the language model."""
    processor, config = _parts(Qwen3VLProcessor, Qwen3VLVideoProcessor)
    side = TINY_IMAGE // TINY_PATCH
    vision = _vision(out_hidden_size=TINY_WIDTH, num_position_embeddings=side * side, deepstack_visual_indexes=[1, 2])
    model = Qwen3VLForConditionalGeneration(Qwen3VLConfig(vision_config=vision, **config))
    with torch.no_grad():
        model.model.visual.pos_embed.weight.copy_(grid_positions(side, TINY_WIDTH))
    return model, processor
