"""Which part of the model trains, is frozen, or gets LoRA adapters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from lisa_core.errors import ConfigError
from lisa_core.lora import LoraSettings, adapt, adapt_language
from lisa_core.model import LisaModel
from lisa_core.model_config import Mode, TuningConfig

# How the layers are called that LoRA adapts, in the vision towers of transformers and in SAM's attention.
_ATTENTION_NAMES = ("q_proj", "v_proj", "query", "value", "qkv")
_CONNECTORS = ("text_sam", "image_text", "image_sam", "similarity", "map_level", "fine", "refinement")


def lora_settings(config: TuningConfig) -> LoraSettings:
    """The adapters' shape as the config says."""
    return LoraSettings(
        config.vlm_lora_r, config.vlm_lora_alpha, config.vlm_lora_dropout, config.lora_dora, config.lora_rslora
    )


def apply_tuning(model: LisaModel, config: TuningConfig) -> None:
    """Freeze and adapt the parts of a freshly built model; afterwards `requires_grad` says what trains.

    What no checkpoint holds (clip-llm's projector) trains even where the VLM around it does not, unless it must not.

    Raises:
        ConfigError: if a part cannot be told apart, has no layers to adapt, or nothing would train.
    """
    settings = lora_settings(config)
    vlm = model.vlm
    fresh = [value for name, value in vlm.named_parameters() if not name.startswith(vlm.pretrained_prefixes)]
    if config.tune_projector == "freeze":
        fresh = []
    vision, language = _part(model, "vision_tower", config.vision), _part(model, "language_model", config.language)
    wholly = config.vision == config.language == "train"
    if not wholly or config.quantization is not None:
        vlm.requires_grad_(False)
    if config.language == "train" and not wholly:
        _train(language)
        _train(_output_head(model))
    if config.vision == "train" and (not wholly or config.quantization is not None):
        _train(vision)
    if config.tune_projector != "auto":
        for parameter in _between(model):
            parameter.requires_grad_(config.projector == "train")
    # The language model first: peft freezes all of the module that it adapts.
    trained = [parameter for parameter in vlm.parameters() if parameter.requires_grad]
    if config.language == "lora":
        adapt_language(vlm, settings, config.lora_targets)
    if config.vision == "lora":
        assert vision is not None
        kept = [parameter for parameter in vlm.parameters() if parameter.requires_grad]
        adapt(vision, _targets(vision, "the vision tower"), settings)
        trained += kept
    for parameter in [*trained, *fresh]:
        parameter.requires_grad_(True)
    given = model.config.sam_checkpoint is not None
    if model.sam_encoder is not None:
        _tune(model.sam_encoder, config.tune_sam_encoder, "freeze" if given else "train", settings, "SAM's encoder")
    _tune(model.decoder, config.tune_sam_decoder, "train", settings, "SAM's decoder")
    for name in _CONNECTORS:
        connector = getattr(model, name)
        if connector is not None:
            _tune(connector, config.tune_connectors, "train", settings, f"the connector {name}", every=True)
    model.tuning = config
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ConfigError("every part is frozen, so nothing would train: let one of them train")


def _part(model: LisaModel, name: str, mode: Mode) -> nn.Module | None:
    """The VLM's vision tower or language model; ConfigError if the mode needs it and the family does not tell it."""
    part: nn.Module | None = getattr(model.vlm, name)
    other = model.vlm.language_model if name == "vision_tower" else model.vlm.vision_tower
    if part is None and (mode == "lora" or (mode == "train" and other is not None)):
        what = name.replace("_", " ")
        raise ConfigError(f"--vlm {model.config.vlm} does not tell its {what} apart: train or freeze the whole VLM")
    return part


def _between(model: LisaModel) -> list[nn.Parameter]:
    """The weights of the VLM that are neither the vision tower's nor the language model's or its head's."""
    vlm = model.vlm
    parts = [vlm.vision_tower, vlm.language_model, _output_head(model)]
    if parts[0] is None or parts[1] is None:
        raise ConfigError(f"--vlm {model.config.vlm} does not tell its parts apart: leave --tune-projector out")
    known = {id(parameter) for part in parts if part is not None for parameter in part.parameters()}
    return [p for p in vlm.parameters() if id(p) not in known and p.is_floating_point()]


def _output_head(model: LisaModel) -> nn.Module | None:
    base: Any = model.vlm.lora_base
    return base.get_output_embeddings() if base is not None and hasattr(base, "get_output_embeddings") else None


def _train(part: nn.Module | None) -> None:
    """Let a part's floating weights train; quantized ones are integers and cannot."""
    for parameter in part.parameters() if part is not None else ():
        if parameter.is_floating_point():
            parameter.requires_grad_(True)


def _tune(part: nn.Module, mode: Mode, automatic: Mode, settings: LoraSettings, what: str, every: bool = False) -> None:
    mode = automatic if mode == "auto" else mode
    if mode == "lora":
        targets = _targets(part, what, every)
        part.requires_grad_(False)
        adapt(part, targets, settings)
    elif mode == "freeze":
        part.requires_grad_(False)


def _targets(part: nn.Module, what: str, every: bool = False) -> Sequence[str]:
    """Names of the layers of a part that LoRA adapts: those of its attention, or every linear and convolution.

    But for dilated convolutions, which peft adapts as if they were not: they stay as they are.
    """
    kinds = (nn.Linear, nn.Conv2d) if every else nn.Linear
    found = [
        name
        for name, layer in part.named_modules()
        if isinstance(layer, kinds)
        and (every or name.split(".")[-1] in _ATTENTION_NAMES)
        and getattr(layer, "dilation", (1, 1)) == (1, 1)
    ]
    if not found:
        raise ConfigError(f"{what} has no layers that LoRA adapts: train or freeze it")
    return found


def has_adapters(model: nn.Module) -> bool:
    """Whether any layer has LoRA adapters."""
    return any("lora_" in name for name, _ in model.named_parameters())


def trainable_line(model: nn.Module) -> str:
    """How much trains, in the words peft prints it in."""
    total = sum(_count(parameter) for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    share = 100 * trained / max(total, 1)
    return f"trainable params: {trained:,} || all params: {total:,} || trainable%: {share:.2f}%"


def _count(parameter: torch.Tensor) -> int:
    """How many weights a tensor holds; bitsandbytes packs two of its 4-bit ones into each byte."""
    return parameter.numel() * (2 if type(parameter).__name__ == "Params4bit" else 1)
