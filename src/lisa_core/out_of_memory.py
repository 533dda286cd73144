"""What to say when memory ran out: the flags that save, those that save most first, with what each of them saves."""

from __future__ import annotations

import torch

from lisa_core.config import TrainConfig
from lisa_core.errors import LisaError
from lisa_core.estimate import estimate
from lisa_core.savings import savings

_MOST = 5


def out_of_memory_advice(config: TrainConfig, device: torch.device) -> str:
    """One line: that memory ran out, how much the run needs, and what the settings not made yet would save of it."""
    where = "GPU" if device.type == "cuda" else "machine"
    left = savings(config)
    found: list[tuple[int, str]] = []
    try:
        needed = estimate(config).total
        for saving in left:
            try:
                found.append((needed - estimate(saving.config).total, saving.flags))
            except LisaError:  # what the family cannot do is no advice
                continue
    except (LisaError, MemoryError):
        # Without estimates the flags are worth naming still, in the order of what they usually save.
        named = ", ".join(saving.flags for saving in left) or "a smaller model"
        return f"the {where} is out of memory; what would save some: {named}"
    gains = sorted((entry for entry in found if entry[0] > 0), reverse=True)[:_MOST]
    named = ", ".join(f"{flags} (about {_size(gain)} less)" for gain, flags in gains) or "a smaller model"
    return (
        f"the {where} is out of memory: this run needs about {_size(needed)} as it is; what would save most: {named}; "
        "`lisa estimate --fit 8gb` with the run's flags finds settings for a GPU of that size"
    )


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
