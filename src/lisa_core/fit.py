"""Settings under which a run fits into a GPU, as near to those asked for as can be."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from lisa_core.config import TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.estimate import Estimate, estimate
from lisa_core.savings import flags_between, savings

CONTEXT = 0.5e9
"""What CUDA itself takes of a GPU, bytes."""
SLACK = 0.1
"""Share of the rest that the allocator cannot use: blocks of freed memory that are too small for what comes."""
_UNITS = {"mb": 1e6, "gb": 1e9, "mib": 2**20, "gib": 2**30, "": 1e9}


@dataclass(frozen=True)
class Attempt:
    """Settings that were tried."""

    flags: str
    """What was changed since the settings asked for."""
    config: TrainConfig
    """All settings."""
    estimate: Estimate
    """What they need."""


def parse_size(text: str) -> float:
    """Bytes of a size such as `8gb`, `24 GiB`, `8000MB` or `16` (gigabytes); raises ConfigError for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if match is None or match[2] not in _UNITS or float(match[1]) <= 0:
        raise ConfigError(f"--fit is {text!r}, must be a size such as 8gb, 16gb or 24GiB")
    return float(match[1]) * _UNITS[match[2]]


def fit(
    config: TrainConfig, size: float, tell: Callable[[Attempt, bool], None] = lambda attempt, fits: None
) -> Attempt:
    """Pull one lever after the other, the least harmful first, until the run fits.

    Half precision, gradient checkpointing and smaller micro-batches with more accumulation come before LoRA, LoRA
    before 8-bit and 4-bit weights, and a frozen VLM is last. Of quantizations the milder one that fits is taken.

    Args:
        config: the settings asked for.
        size: of the GPU, bytes; `usable` says how much of it a run may take.
        tell: hears of each attempt, and whether it fits.

    Raises:
        ConfigError, PluginError: for settings that make no sense, or if nothing fits; the message names the least.
    """
    attempt = Attempt("", config, estimate(config))
    if not attempt.estimate.is_complete:
        raise ConfigError(f"whether this run fits cannot be told: {attempt.estimate.notes[-1]}")
    attempts = [attempt]
    while True:
        fits = attempt.estimate.total <= usable(size)
        tell(attempt, fits)
        if fits:
            return attempt
        following = _next(attempt, config)
        if following is None:
            break
        attempt = following
        attempts.append(attempt)
    least = min(attempts, key=lambda tried: tried.estimate.total)
    raise ConfigError(
        f"nothing fits into {size / 1e9:.1f} GB: the least is {(least.estimate.total) / 1e9:.1f} GB besides what CUDA "
        f"itself takes, with {least.flags or 'the settings as they are'}: choose a smaller model"
    )


def usable(size: float) -> float:
    """How much of a GPU's memory a run can count on, bytes."""
    return (size - CONTEXT) * (1 - SLACK)


def _next(attempt: Attempt, asked_for: TrainConfig) -> Attempt | None:
    """The next lever that saves something."""
    for saving in savings(attempt.config):
        try:
            found = estimate(saving.config)
        except ConfigError:  # what a family cannot do is no way to make it fit
            continue
        if found.is_complete and found.total < attempt.estimate.total:
            return Attempt(flags_between(asked_for, saving.config), saving.config, found)
    return None
