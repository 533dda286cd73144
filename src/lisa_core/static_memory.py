"""What a model holds in memory all the time: its weights by part, and the optimizer's state."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lisa_core.config import TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.levers import is_frozen
from lisa_core.model import LisaModel
from lisa_core.optim import drawing_options, parameter_groups

WEIGHTS = ("vision_tower", "language_model", "projector", "sam", "connectors", "quantized", "lora")
"""The parts that weights are told apart by."""
_ADAPTERS = ("lora_", "trainable_tokens_")


def static_memory(model: LisaModel, config: TrainConfig | None) -> dict[str, int]:
    """Bytes of weights by part and of the optimizer's state, and the counts; without a config nothing trains."""
    base: Any = model.vlm.lora_base
    head = base.get_output_embeddings() if base is not None and hasattr(base, "get_output_embeddings") else None
    parts: dict[str, list[nn.Module | None]] = {
        "vision_tower": [model.vlm.vision_tower],
        "language_model": [model.vlm.language_model, head],
        "sam": [model.decoder, model.sam_encoder],
        "projector": [model.vlm],
    }
    where = {
        id(tensor): name
        for name, modules in reversed(parts.items())  # what is told apart overrides the VLM as a whole
        for module in modules
        if module is not None
        for tensor in (*module.parameters(), *module.buffers())
    }
    counts = dict.fromkeys(WEIGHTS, 0)
    counts.update(optimizer=0, parameters=0, trainable=0)
    by_muon = set() if config is None else _by_muon(model, config)
    seen: set[int] = set()
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if id(tensor) in seen:
            continue
        seen.add(id(tensor))
        part = where.get(id(tensor), "connectors")
        if any(mark in name for mark in _ADAPTERS):
            part = "lora"
        elif name.endswith("packed"):
            part = "quantized"
        counts[part] += tensor.numel() * tensor.element_size()
        if isinstance(tensor, nn.Parameter):
            count = getattr(tensor, "weights", tensor.numel())
            counts["parameters"] += count
            if tensor.requires_grad and config is not None:
                counts["trainable"] += count
                muon = id(tensor) in by_muon
                counts["optimizer"] += 4 * count if muon else _state_bytes(tensor, config.optim.optimizer)
    return counts


def _by_muon(model: LisaModel, config: TrainConfig) -> set[int]:
    """The ids of the parameters that follow Muon, which keeps their momentum alone."""
    groups = parameter_groups(model, config.learning_rate, 0.0, **drawing_options(model, config))
    return {id(parameter) for group in groups if group["orthogonal"] for parameter in group["params"]}


def _state_bytes(parameter: Tensor, optimizer: str) -> int:
    """Bytes of AdamW's two states of a parameter; bitsandbytes keeps small ones, and scales, in float32."""
    count = parameter.numel()
    if not optimizer.endswith("8bit") or count < 4096:
        return 8 * count
    return 2 * (count + 4 * -(-count // 256))


def offloaded_memory(model: LisaModel) -> dict[str, tuple[int, int]]:
    """Frozen halves of the VLM by name: bytes that leave the device, and bytes of their largest layer."""
    found = {}
    for name in ("vision_tower", "language_model"):
        part = getattr(model.vlm, name)
        if part is not None and is_frozen(part):
            layers = [_bytes(layer.parameters(recurse=False)) for layer in part.modules()]
            found[name] = sum(layers), max(layers)
    if not found:
        raise ConfigError("--cpu-offload moves only what is frozen: add --vlm-freeze, or --tune-vision freeze")
    return found


def _bytes(tensors: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
