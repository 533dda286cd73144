"""A small InternVL with random weights: the real classes, an offline tokenizer and processor."""

from __future__ import annotations

from typing import Any

import torch
from transformers import (
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    PreTrainedTokenizerFast,
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

# What the processor asks its tokenizer for by name.
_MARKS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}


def tiny_internvl() -> tuple[Any, Any]:
    """Model and processor: 96-pixel pictures in 8-pixel patches, 36 image tokens."""
    words = tiny_tokenizer([*_MARKS.values(), "<|im_start|>", "<|im_end|>"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words.backend_tokenizer,
        pad_token=words.pad_token,
        eos_token="<|im_end|>",
        extra_special_tokens=_MARKS,
    )
    side = TINY_IMAGE // TINY_PATCH
    square = {"height": TINY_IMAGE, "width": TINY_IMAGE}
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=square),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=square),
        image_seq_length=(side // 2) ** 2,
    )
    config = InternVLConfig(
        vision_config=tiny_vision_config(
            image_size=[TINY_IMAGE, TINY_IMAGE], patch_size=[TINY_PATCH, TINY_PATCH], layer_scale_init_value=1.0
        ),
        text_config=tiny_text_config(tokenizer, model_type="qwen2"),
        image_token_id=tokenizer.get_vocab()["<IMG_CONTEXT>"],
        image_seq_length=(side // 2) ** 2,
        tie_word_embeddings=False,
    )
    model = InternVLForConditionalGeneration(config)
    with torch.no_grad():  # position 0 is the class token's
        model.model.vision_tower.embeddings.position_embeddings[0, 1:] = grid_positions(side, TINY_WIDTH)
    return model, processor
