"""4- and 8-bit weights of the language model, through bitsandbytes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lisa_core.errors import ConfigError

QUANTIZATIONS = ("4bit", "8bit")
"""The kinds there are: nf4 with double quantization (QLoRA, arXiv:2305.14314) and LLM.int8 (arXiv:2208.07339)."""


def refuse_unless(quantization: str | None, supported: tuple[str, ...], family: str) -> None:
    """Raise ConfigError for a quantization that the family does not declare."""
    if quantization is not None and quantization not in supported:
        known = f"it can do {', '.join(supported)}" if supported else "load it without quantization"
        raise ConfigError(f"--vlm {family} cannot be loaded with quantization {quantization!r}: {known}")


def quantization_config(
    quantization: str, skeleton: nn.Module, language: nn.Module, dtype: torch.dtype = torch.float32
) -> Any:
    """The transformers quantization config under which only the language model's linear layers are quantized.

    The vision tower stays as it is: the grid that masks are drawn from is made there.

    Args:
        quantization: one of `QUANTIZATIONS`.
        skeleton: the whole model, weights not needed.
        language: the part of it that is to be quantized.
        dtype: what 4-bit weights are computed in.

    Raises:
        ConfigError: if bitsandbytes is not installed.
    """
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ConfigError("4- and 8-bit loading needs bitsandbytes: run `pip install lisa-core[quantize]`") from error
    from transformers import BitsAndBytesConfig

    inside = set(language.modules())
    skipped = [name for name, part in skeleton.named_modules() if isinstance(part, nn.Linear) and part not in inside]
    if quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=skipped)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
        llm_int8_skip_modules=skipped,
    )


def make_trainable(model: nn.Module) -> None:
    """Prepare a model that was loaded in 4 or 8 bits for training adapters beside its weights.

    Its layers are kept on the path that has gradients: on CPUs with AVX512-BF16 an evaluation packs nf4 weights for a
    kernel without autograd, and adapters trained after it would get gradients of 0 without any error.
    """
    if getattr(model, "is_loaded_in_4bit", False) or getattr(model, "is_loaded_in_8bit", False):
        from peft import prepare_model_for_kbit_training

        prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False  # type: ignore[assignment]
