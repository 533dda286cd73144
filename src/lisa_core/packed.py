"""Layers that need as much memory as bitsandbytes' quantized ones, without weights: for telling it before loading."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lisa_core.errors import ConfigError
from lisa_core.vlm import VLM


def quantize_skeleton(vlm: VLM, quantization: str, half: torch.dtype | None) -> None:
    """Put layers that need as much memory as bitsandbytes' in the place of the language model's linear ones."""
    language = vlm.language_model
    if language is None:
        raise ConfigError(f"--vlm {vlm.family} does not tell its language model apart: leave --vlm-quantization out")
    for name, module in list(language.named_modules()):
        for child_name, child in list(module.named_children()):
            if type(child) is nn.Linear and "lora_" not in f"{name}.{child_name}":
                setattr(module, child_name, PackedLinear(child, quantization, half or torch.float32))


class PackedLinear(nn.Module):
    """As large as bitsandbytes' layer of the same shape, and as thrifty: weights are unpacked for each use."""

    def __init__(self, linear: nn.Linear, quantization: str, dtype: torch.dtype) -> None:
        super().__init__()
        count = linear.weight.numel()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.dtype = dtype
        if quantization == "8bit":
            size = count + 4 * linear.out_features  # a float32 scale for each row
        else:
            # Half a byte each; a scale of one byte for 64 of them, and a float32 for 256 scales (arXiv:2305.14314).
            size = -(-count // 2) + -(-count // 64) + 4 * -(-count // (64 * 256))
        self.packed = nn.Parameter(torch.empty(size, dtype=torch.uint8, device="meta"), requires_grad=False)
        self.packed.weights = count  # type: ignore[attr-defined]
        self.bias = linear.bias

    def forward(self, x: Tensor) -> Tensor:
        """[...,in] -> [...,out]."""
        y = _Unpacked.apply(x.to(self.dtype), self.packed, self.out_features)
        return (y if self.bias is None else y + self.bias.to(y.dtype)).to(x.dtype)


class _Unpacked(torch.autograd.Function):
    """A product with weights that are unpacked in both passes, and kept in neither."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, packed: Tensor, out_features: int) -> Tensor:
        ctx.save_for_backward(packed)
        ctx.shape = out_features, x.shape[-1]
        return x @ x.new_empty(ctx.shape).t()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (gradient,) = gradients
        return gradient @ gradient.new_empty(ctx.shape), None, None
