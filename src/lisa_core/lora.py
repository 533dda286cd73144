"""LoRA (arXiv:2106.09685) through peft: adapters on chosen layers, and the `[SEG]` rows that train beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from lisa_core.errors import ConfigError
from lisa_core.vlm import VLM

ALL_LINEAR = "all-linear"
"""The target that stands for every linear layer."""


@dataclass(frozen=True)
class LoraSettings:
    """Shape of the adapters."""

    r: int = 16
    """Rank."""
    alpha: int = 32
    """The update is scaled by alpha / r."""
    dropout: float = 0.1
    """Dropout before the adapter."""
    dora: bool = False
    """Magnitude and direction of the weights adapted apart (arXiv:2402.09353)."""
    rslora: bool = False
    """Scale by alpha / sqrt(r) instead (arXiv:2312.03732)."""


def lora_config(targets: Sequence[str], settings: LoraSettings, **changes: Any) -> Any:
    """The peft config that adapts these layers."""
    from peft import LoraConfig

    return LoraConfig(
        r=settings.r,
        lora_alpha=settings.alpha,
        lora_dropout=settings.dropout,
        use_dora=settings.dora,
        use_rslora=settings.rslora,
        target_modules=list(targets),
        **changes,
    )


def count_lora_parameters(model: nn.Module, targets: list[str], settings: LoraSettings) -> int:
    """How many parameters the adapters of these layers have; the model is changed, so give one to throw away."""
    from peft import inject_adapter_in_model

    adapted = inject_adapter_in_model(lora_config(targets, settings), model, low_cpu_mem_usage=True)
    return sum(parameter.numel() for name, parameter in adapted.named_parameters() if "lora_" in name)


def adapt(module: nn.Module, targets: Sequence[str], settings: LoraSettings, **changes: Any) -> None:
    """Put adapters on layers of a module, by their names in it; its own weights are frozen."""
    from peft import inject_adapter_in_model

    inject_adapter_in_model(lora_config(targets, settings, **changes), module)


def adapt_language(vlm: VLM, settings: LoraSettings, names: Sequence[str] = ()) -> None:
    """Put adapters on the language model; the embedding rows of `[SEG]`, which start without a meaning, train as well.

    Args:
        vlm: its language model must not have adapters yet.
        settings: shape of the adapters.
        names: last names of the layers, or `all-linear`; by default `vlm.lora_targets()`.

    Raises:
        ConfigError: if there are no such layers.
    """
    base: Any = vlm.lora_base
    targets = vlm.lora_targets()
    if base is None or not targets:
        raise ConfigError(f"--vlm {vlm.family} names no layers for LoRA: its adapter must say lora_base, lora_targets")
    if names:
        language = vlm.language_model
        inside = set() if language is None else set(language.modules())
        linear = [name for name, layer in base.named_modules() if isinstance(layer, nn.Linear) and layer in inside]
        targets = linear if ALL_LINEAR in names else [name for name in linear if name.split(".")[-1] in names]
        if not targets:
            known = ", ".join(sorted({name.split(".")[-1] for name in linear})) or "none"
            raise ConfigError(
                f"--lora-targets {' '.join(names)}: the language model has no such linear layer; it has {known}"
            )
    rows = {name: [vlm.seg_token_id] for name in _token_tables(base)}
    adapt(base, targets, settings, trainable_token_indices=rows)


def add_lora(vlm: VLM, settings: LoraSettings = LoraSettings()) -> None:
    """Freeze the VLM's own weights and put trainable adapters on `vlm.lora_targets()`; see `adapt_language`.

    What no checkpoint can restore (clip-llm's projector) keeps training.

    Raises:
        ConfigError: if the family names no layers.
    """
    fresh = [
        parameter
        for name, parameter in vlm.named_parameters()
        if parameter.requires_grad and not name.startswith(vlm.pretrained_prefixes)
    ]
    vlm.requires_grad_(False)
    adapt_language(vlm, settings)
    for parameter in fresh:
        parameter.requires_grad_(True)


def _token_tables(model: Any) -> list[str]:
    """Names of the embedding matrix and, unless it is the same one, of the output head."""
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    tables = [embeddings]
    if head is not None and head.weight is not embeddings.weight:
        tables.append(head)
    return [name for name, module in model.named_modules() if any(module is table for table in tables)]
