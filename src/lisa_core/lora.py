"""LoRA on a VLM's language model (arXiv:2106.09685), through peft; the `[SEG]` rows train beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from lisa_core.errors import ConfigError
from lisa_core.vlm import VLM


@dataclass(frozen=True)
class LoraSettings:
    """Shape of the adapters."""

    r: int = 16
    """Rank."""
    alpha: int = 32
    """The update is scaled by alpha / r."""
    dropout: float = 0.1
    """Dropout before the adapter."""


def lora_config(targets: list[str], settings: LoraSettings, **changes: Any) -> Any:
    """The peft config that adapts these layers."""
    from peft import LoraConfig

    return LoraConfig(
        r=settings.r, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets, **changes
    )


def count_lora_parameters(model: nn.Module, targets: list[str], settings: LoraSettings) -> int:
    """How many parameters the adapters of these layers have; the model is changed, so give one to throw away."""
    from peft import inject_adapter_in_model

    adapted = inject_adapter_in_model(lora_config(targets, settings), model, low_cpu_mem_usage=True)
    return sum(parameter.numel() for name, parameter in adapted.named_parameters() if "lora_" in name)


def add_lora(vlm: VLM, settings: LoraSettings = LoraSettings()) -> None:
    """Freeze the VLM's own weights and put trainable adapters on `vlm.lora_targets()`.

    What no checkpoint can restore (clip-llm's projector) keeps training, and so does the embedding row of `[SEG]`,
    which starts without a meaning.

    Raises:
        ConfigError: if the family names no layers.
    """
    from peft import inject_adapter_in_model

    base: Any = vlm.lora_base
    targets = vlm.lora_targets()
    if base is None or not targets:
        raise ConfigError(f"--vlm {vlm.family} names no layers for LoRA: its adapter must say lora_base, lora_targets")
    fresh = [
        parameter
        for name, parameter in vlm.named_parameters()
        if parameter.requires_grad and not name.startswith(vlm.pretrained_prefixes)
    ]
    vlm.requires_grad_(False)
    rows = {name: [vlm.seg_token_id] for name in _token_tables(base)}
    inject_adapter_in_model(lora_config(targets, settings, trainable_token_indices=rows), base)
    for parameter in fresh:
        parameter.requires_grad_(True)


def _token_tables(model: Any) -> list[str]:
    """Names of the embedding matrix and, unless it is the same one, of the output head."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    tables = [embeddings]
    if head is not None and head.weight is not embeddings.weight:
        tables.append(head)
    return [name for name, module in model.named_modules() if any(module is table for table in tables)]
