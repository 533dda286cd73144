"""What to say when memory runs out: the flags that would save most, with an estimate for each."""

from __future__ import annotations

import torch

from lisa_core.config import TrainConfig
from lisa_core.errors import LisaError


def out_of_memory_advice(config: TrainConfig, device: torch.device) -> str:
    """One line: that memory ran out, and what would save most of it, best first."""
    from lisa_core.estimate import savings  # builds models: only now that there is need of it

    where = "GPU" if device.type == "cuda" else "machine"
    try:
        found = savings(config)
    except (LisaError, RuntimeError, NotImplementedError):  # a model that cannot be built without weights
        found = []
    if not found:
        return f"the {where} is out of memory: reduce --batch-size, or add --gradient-checkpointing or --vlm-use-lora"
    listed = ", ".join(f"{flags} (about {saved / 1e9:.1f} GB)" for flags, saved in found)
    return f"the {where} is out of memory; what would save most: {listed}. `lisa estimate` shows where it goes"
