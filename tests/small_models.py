"""Published architectures without an adapter of their own, built small from their configs and saved as checkpoints."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    Gemma3ImageProcessor,
    Gemma3Processor,
    GotOcr2ImageProcessor,
    InternVLConfig,
    InternVLForConditionalGeneration,
    InternVLProcessor,
    InternVLVideoProcessor,
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    LlavaOnevisionImageProcessor,
    LlavaOnevisionProcessor,
    LlavaOnevisionVideoProcessor,
    PreTrainedTokenizerFast,
)

from lisa_core import TINY_IMAGE, TINY_PATCH, TINY_WIDTH, tiny_text_config, tiny_tokenizer, tiny_vision_config

SQUARE = {"height": TINY_IMAGE, "width": TINY_IMAGE}
SIDE = TINY_IMAGE // TINY_PATCH


def _tokenizer(**tokens: str) -> Any:
    """The tiny tokenizer with special tokens that the processor asks for by name (`image_token="<image>"`)."""
    plain = tiny_tokenizer(list(tokens.values()))
    return PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer,
        pad_token=plain.pad_token,
        bos_token=plain.bos_token,
        eos_token=plain.eos_token,
        extra_special_tokens=tokens,
    )


def _template(image: str) -> str:
    return (
        "{% for message in messages %}{{ message['role'] | upper }}:"
        "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
        + image
        + "{% else %}{{ ' ' + part['text'] }}{% endif %}{% endfor %}"
        "{{ eos_token if message['role'] == 'assistant' else '\n' }}{% endfor %}"
        "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
    )


def llava_onevision() -> tuple[Any, Any]:
    """Tiles by the picture's shape, a newline token for each row of patches."""
    tokenizer = _tokenizer(image_token="<image>", video_token="<video>")
    ids = tokenizer.get_vocab()
    pinpoints = [[TINY_IMAGE, TINY_IMAGE], [TINY_IMAGE, 2 * TINY_IMAGE], [2 * TINY_IMAGE, TINY_IMAGE]]
    config = LlavaOnevisionConfig(
        vision_config={
            "model_type": "siglip_vision_model",
            **tiny_vision_config(patch_size=2 * TINY_PATCH, vision_use_head=False, num_hidden_layers=2),
        },
        text_config={"model_type": "qwen2", **tiny_text_config(tokenizer, num_hidden_layers=2)},
        image_token_index=ids["<image>"],
        video_token_index=ids["<video>"],
        image_grid_pinpoints=pinpoints,
    )
    processor = LlavaOnevisionProcessor(
        image_processor=LlavaOnevisionImageProcessor(size=SQUARE, image_grid_pinpoints=pinpoints),
        tokenizer=tokenizer,
        video_processor=LlavaOnevisionVideoProcessor(size=SQUARE),
        num_image_tokens=(SIDE // 2) ** 2,
        vision_feature_select_strategy="full",
        chat_template=_template("<image>"),
    )
    return LlavaOnevisionForConditionalGeneration(config), processor


def internvl() -> tuple[Any, Any]:
    """As many tiles as the picture's shape asks for, all in one flat tensor; pads on the left by itself."""
    tokenizer = _tokenizer(
        start_image_token="<img>",
        end_image_token="</img>",
        context_image_token="<IMG_CONTEXT>",
        video_token="<video>",
    )
    config = InternVLConfig(
        vision_config={
            **tiny_vision_config(num_hidden_layers=2),
            "image_size": [TINY_IMAGE, TINY_IMAGE],
            "patch_size": [TINY_PATCH, TINY_PATCH],
        },
        text_config={"model_type": "qwen2", **tiny_text_config(tokenizer, num_hidden_layers=2)},
        image_token_id=tokenizer.get_vocab()["<IMG_CONTEXT>"],
        image_seq_length=(SIDE // 2) ** 2,
        tie_word_embeddings=False,
    )
    processor = InternVLProcessor(
        image_processor=GotOcr2ImageProcessor(size=SQUARE, crop_to_patches=True, min_patches=1, max_patches=3),
        tokenizer=tokenizer,
        video_processor=InternVLVideoProcessor(size=SQUARE),
        image_seq_length=(SIDE // 2) ** 2,
        chat_template=_template("<IMG_CONTEXT>"),
    )
    return InternVLForConditionalGeneration(config), processor


def gemma3() -> tuple[Any, Any]:
    """Image tokens see one another both ways (`token_type_ids`), text layers with and without a window."""
    tokenizer = _tokenizer(boi_token="<start_of_image>", eoi_token="<end_of_image>", image_token="<image_soft_token>")
    ids = tokenizer.get_vocab()
    config = Gemma3Config(
        vision_config={
            "model_type": "siglip_vision_model",
            **tiny_vision_config(vision_use_head=False, num_hidden_layers=2),
        },
        text_config=tiny_text_config(
            tokenizer,
            num_hidden_layers=2,
            head_dim=TINY_WIDTH // 4,
            query_pre_attn_scalar=TINY_WIDTH // 4,
            layer_types=["sliding_attention", "full_attention"],
            sliding_window=32,
        ),
        mm_tokens_per_image=(SIDE // 3) ** 2,
        boi_token_index=ids["<start_of_image>"],
        eoi_token_index=ids["<end_of_image>"],
        image_token_index=ids["<image_soft_token>"],
    )
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessor(size=SQUARE),
        tokenizer=tokenizer,
        chat_template="{{ bos_token }}" + _template("<start_of_image>"),
        image_seq_length=(SIDE // 3) ** 2,
    )
    model = Gemma3ForConditionalGeneration(config)
    # It starts at zero, which leaves nothing of a picture.
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.1)
    return model, processor


ARCHITECTURES: dict[str, Callable[[], tuple[Any, Any]]] = {
    "llava_onevision": llava_onevision,
    "internvl": internvl,
    "gemma3": gemma3,
}
"""Model and processor by `model_type`; random weights."""


def save(architecture: str, folder: Path, seed: int = 0) -> Path:
    """Write a small checkpoint of an architecture into `folder`, as a user would download it; returns the folder."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, processor = ARCHITECTURES[architecture]()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
