"""Memory against time: attention, gradient checkpointing, compilation, offloading of the VLM."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils import is_flash_attn_2_available

from lisa_core.config import SpeedConfig
from lisa_core.discovery import one_line
from lisa_core.errors import ConfigError
from lisa_core.vlm import VLM

_ATTENTION = {"flex": "flex_attention"}


def apply_levers(vlm: VLM, speed: SpeedConfig, device: torch.device) -> None:
    """Set what `SpeedConfig` asks for, but for `cpu_offload`, which is last of all (`offload`).

    Args:
        vlm: built and tuned; changed in place.
        speed: the settings.
        device: where the run computes.

    Raises:
        ConfigError: for what this device, installation or model does not have.
    """
    if speed.attn != "auto":
        _set_attention(vlm, speed.attn, device)
    if speed.gradient_checkpointing:
        _checkpoint_gradients(vlm)
    if speed.compile:
        for part in (vlm.vision_tower, vlm.language_model):
            if part is not None:
                part.compile(dynamic=True)


def transformers_models(vlm: VLM) -> Iterator[PreTrainedModel]:
    """The transformers models that a VLM is made of, not their parts."""
    waiting: list[nn.Module] = list(vlm.children())
    while waiting:
        module = waiting.pop(0)
        if isinstance(module, PreTrainedModel):
            yield module
        else:
            waiting += module.children()


def _set_attention(vlm: VLM, name: str, device: torch.device) -> None:
    if name == "flash_attention_2" and (device.type != "cuda" or not is_flash_attn_2_available()):
        raise ConfigError("--attn flash_attention_2 needs a CUDA GPU and `pip install flash-attn`: use --attn sdpa")
    if name == "flex" and device.type != "cuda":
        raise ConfigError("--attn flex trains on CUDA only, its CPU kernels have no backward pass: use --attn sdpa")
    for model in transformers_models(vlm):
        try:
            model.set_attn_implementation(_ATTENTION.get(name, name))
        except (ValueError, ImportError) as error:
            raise ConfigError(
                f"--attn {name} is not for {type(model).__name__} ({one_line(error)[:160]}): use --attn eager, or auto"
            ) from error


def _checkpoint_gradients(vlm: VLM) -> None:
    models = list(transformers_models(vlm))
    able = [model for model in models if model.supports_gradient_checkpointing]
    if not able:
        raise ConfigError(f"--vlm {vlm.family} cannot do --gradient-checkpointing: leave it out")
    # Not reentrant: that kind gives no gradients where a layer's input needs none, as under LoRA.
    how = {"use_reentrant": False}
    for model in able:
        if hasattr(model, "activation_checkpointing_enable"):  # its name in newer transformers
            model.activation_checkpointing_enable(activation_checkpointing_kwargs=how)
        else:
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=how)


def offload(vlm: VLM, device: torch.device) -> list[nn.Module]:
    """Keep the frozen halves of the VLM in CPU memory, each layer on the device only while it computes.

    Returns:
        the halves; they must not be moved any more.

    Raises:
        ConfigError: if neither half is frozen altogether.
    """
    from accelerate import cpu_offload

    parts = [part for part in (vlm.vision_tower, vlm.language_model) if part is not None]
    frozen = [part for part in parts if is_frozen(part)]
    if not frozen:
        raise ConfigError("--cpu-offload moves only what is frozen: add --vlm-freeze, or --tune-vision freeze")
    for part in frozen:
        cpu_offload(part, execution_device=device)
    return frozen


def is_frozen(part: nn.Module) -> bool:
    """Whether none of a module's weights trains."""
    return not any(parameter.requires_grad for parameter in part.parameters())
