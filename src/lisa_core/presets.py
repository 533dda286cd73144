"""Settings that go together: by the memory of the GPU they are meant for, or by what is to come of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A set of settings."""

    summary: str
    """One line for help."""
    settings: Mapping[str, Any]
    """By name."""


_SMALL_STEPS: dict[str, Any] = {"vlm_use_lora": True, "batch_size": 1, "gradient_accumulation_steps": 8}

PRESETS: dict[str, Preset] = {
    "8gb": Preset(
        "8-bit weights with LoRA, one sentence at a time, gradient checkpointing",
        {**_SMALL_STEPS, "vlm_use_quantization": True, "vlm_quantization": "8bit", "gradient_checkpointing": True},
    ),
    "16gb": Preset(
        "bf16 with LoRA, one sentence at a time, gradient checkpointing",
        {
            **_SMALL_STEPS,
            "vlm_use_mixed_precision": True,
            "vlm_mixed_precision": "bf16",
            "gradient_checkpointing": True,
        },
    ),
    "24gb": Preset("full precision with LoRA, one sentence at a time", _SMALL_STEPS),
    # The parts and losses of benchmarks/stamps/configs/base.yaml. Its fusion, way of training and flip test are the
    # user's choice, and with its temperature no mask is empty, which is right only where each sentence means something.
    "detailed": Preset(
        "finer outlines and a map that hears of its neighbours and of the whole picture, at some time a step",
        {
            "aggregate_map": True,
            "map_prompt": "relative",
            "fine_features": True,
            "unfold_patches": True,
            "refine_masks": True,
            "pointing_weight": 1.0,
            "dice_weight": 2.0,
        },
    ),
}
