"""Joins the converted tower and language model to one LLaVA: real classes and weights, a projector that is random yet.

    python benchmarks/stamps/llava.py weights/dinov2-224-l8 weights/smollm2 weights/llava

`lisa train --vlm llava --vlm-model-name weights/llava` reads it. Train the projector before it is to mean anything:
`--vlm-freeze --tune-projector train` trains it alone, as LLaVA's first stage does (arXiv:2304.08485, section 4.2).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
)

from lisa_core.errors import ConfigError, LisaError

IMAGE = "<image>"
_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% for part in message['content'] %}{{ '<image>\n' if part['type'] == 'image' else part['text'] }}{% endfor %}"
    "{{ '<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def assemble(vision: Path, language: Path, out: Path, seed: int = 0) -> LlavaForConditionalGeneration:
    """Write the joined model with its processor into `out`; returns the model.

    Args:
        vision: a vision transformer with a class token, at the size that its config names.
        language: a causal language model with a chat template in ChatML.
        out: a new folder.
        seed: of the projector.

    Raises:
        ConfigError: if one of the two is not there, or `out` is.
    """
    for folder in (vision, language):
        if not (folder / "config.json").is_file():
            raise ConfigError(f"{folder} holds no model: run weights.py first.")
    if out.exists():
        raise ConfigError(f"{out} is there already: give another folder, or remove it.")
    tokenizer: Any = AutoTokenizer.from_pretrained(language)
    tokenizer.add_special_tokens({"additional_special_tokens": [IMAGE]})
    tower, reader = AutoModel.from_pretrained(vision), AutoModelForCausalLM.from_pretrained(language)
    reader.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    config = LlavaConfig(
        vision_config=AutoConfig.from_pretrained(vision),
        text_config=reader.config,
        image_token_index=tokenizer.convert_tokens_to_ids(IMAGE),
        vision_feature_layer=-1,
        vision_feature_select_strategy="default",
        image_seq_length=(tower.config.image_size // tower.config.patch_size) ** 2,
        tie_word_embeddings=reader.config.tie_word_embeddings,
    )
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(config)
    model.model.vision_tower.load_state_dict(tower.state_dict(), strict=True)
    model.model.language_model.load_state_dict(reader.model.state_dict(), strict=True)
    model.lm_head.load_state_dict(reader.lm_head.state_dict(), strict=True)
    processor = LlavaProcessor(
        image_processor=AutoImageProcessor.from_pretrained(vision),
        tokenizer=tokenizer,
        patch_size=tower.config.patch_size,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_TEMPLATE,
    )
    model.save_pretrained(out)
    processor.save_pretrained(out)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("vision", type=Path, help="what weights.py wrote, a tower")
    parser.add_argument("language", type=Path, help="what weights.py wrote, a language model")
    parser.add_argument("out", type=Path, help="folder to write to")
    options = parser.parse_args()
    try:
        model = assemble(options.vision, options.language, options.out)
    except LisaError as error:
        sys.exit(f"error: {error}")
    print(f"{options.out}: {model.num_parameters() / 1e6:.1f} M parameters")


if __name__ == "__main__":
    main()
