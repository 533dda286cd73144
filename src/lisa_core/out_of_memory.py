"""What to say when memory ran out: the flags that save, those that save most first, with what each of them saves."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from lisa_core.config import TrainConfig
from lisa_core.errors import ConfigError, LisaError
from lisa_core.estimate import estimate
from lisa_core.savings import savings

_MOST = 5


@contextmanager
def advice_when_out_of_memory(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Let running out of memory be a ConfigError that says what would save some."""
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        plain = isinstance(error, RuntimeError) and not isinstance(error, torch.OutOfMemoryError)
        if plain and "allocate memory" not in str(error):  # how torch says it on a CPU
            raise
        traceback.clear_frames(error.__traceback__)  # what was computed so far is of no use, and its room is needed
        raise ConfigError(out_of_memory_advice(config, device)) from error


def out_of_memory_advice(config: TrainConfig, device: torch.device) -> str:
    """One line: that memory ran out, how much the run needs, and what the settings not made yet would save of it."""
    where = "GPU" if device.type == "cuda" else "machine"
    left = savings(config)
    found: list[tuple[int, str]] = []
    try:
        needed = _total(config)
        for saving in left:
            try:
                found.append((needed - _total(saving.config), saving.flags))
            except LisaError:  # what the family cannot do is no advice
                continue
    except (LisaError, MemoryError, RuntimeError):
        # Without estimates the flags are worth naming still, in the order of what they usually save.
        named = ", ".join(saving.flags for saving in left) or "a smaller model"
        return f"the {where} is out of memory; what would save some: {named}"
    gains = sorted((entry for entry in found if entry[0] > 0), reverse=True)[:_MOST]
    named = ", ".join(f"{flags} (about {_size(gain)} less)" for gain, flags in gains) or "a smaller model"
    return (
        f"the {where} is out of memory: this run needs about {_size(needed)} as it is; what would save most: {named}; "
        "`lisa estimate --fit 8gb` with the run's flags finds settings for a GPU of that size"
    )


def _total(config: TrainConfig) -> int:
    found = estimate(config)
    if not found.is_complete:  # here for want of memory, or of a model that bears it
        raise MemoryError
    return found.total


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
