"""Numbers next to 0, with which some processors compute slowly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def flushed_denormals(device: torch.device) -> Iterator[None]:
    """On a CPU, take denormal numbers (in float32, below 1.2e-38) for 0 meanwhile; elsewhere nothing is changed.

    The gradients of what a model is sure of get so small, and Intel's processors take many times as long for each such
    number: the better a model is, the slower it would train. They are too small to change a weight. It holds for this
    thread and for those it starts meanwhile (torch's own are started by its first computation), and nothing is done
    where a processor cannot do it.
    """
    if device.type != "cpu" or _are_flushed():
        yield
        return
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)  # other code of the thread may rely on them


def _are_flushed() -> bool:
    return (torch.tensor(torch.finfo(torch.float32).smallest_normal) * 0.5).item() == 0
