"""Numbers with fewer bits: what is frozen is kept in half precision, what trains in float32, and autocast between."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from lisa_core.model import LisaModel

Precision = Literal["no", "fp16", "bf16"]

_HALF: dict[str, torch.dtype | None] = {"no": None, "fp16": torch.float16, "bf16": torch.bfloat16}


def half_dtype(precision: Precision) -> torch.dtype | None:
    """The half-precision type, or None for float32."""
    return _HALF[precision]


def set_precision(model: LisaModel, precision: Precision) -> None:
    """Give each weight the type it is kept in, and let VLM and SAM's encoder compute in half precision.

    What trains is float32: updates of a millionth vanish in 8 or 11 significant bits (Mixed Precision Training,
    arXiv:1710.03740, section 3.1), and gradient scaling refuses fp16 gradients. Connectors and decoder, which draw the
    mask, are float32 altogether. So is a VLM of which one half trains itself: transformers' models take their parts to
    have one type. Call it after `apply_tuning`.
    """
    half = half_dtype(precision)
    model.half_dtype = half
    trained = "train" in (model.tuning.vision, model.tuning.language)
    parts: list[nn.Module] = [] if trained else [model.vlm]
    if model.sam_encoder is not None:
        parts.append(model.sam_encoder)
    inside = {id(parameter) for part in parts for parameter in part.parameters()}
    for parameter in model.parameters():
        if not parameter.is_floating_point():
            continue  # quantized
        frozen = not parameter.requires_grad and id(parameter) in inside
        parameter.data = parameter.data.to(half if half is not None and frozen else torch.float32)


def grad_scaler(precision: Precision, device: torch.device) -> torch.amp.GradScaler:
    """Scales the loss up and the gradients down, so that fp16 gradients do not vanish; does nothing otherwise."""
    return torch.amp.GradScaler(device.type, enabled=precision == "fp16")
