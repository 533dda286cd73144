"""Numbers next to 0, with which some processors compute slowly."""

from __future__ import annotations

import torch


def flush_denormals() -> None:
    """Let this thread, and those it starts from now on, take denormal numbers (in float32, below 1.2e-38) for 0.

    The gradients of what a model is sure of get so small, and Intel's processors take many times as long for each such
    number: the better a model is, the slower it would train. They are too small to change a weight. Nothing is done
    where a processor cannot do it, nor on GPUs.
    """
    torch.set_flush_denormal(True)
