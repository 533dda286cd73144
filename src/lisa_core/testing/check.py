"""What a check of the conformance kit is, and the list of them all."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor


class CheckFailure(AssertionError):
    """The adapter does not do what the protocol says; the message says what it does instead."""


class NotApplicable(Exception):
    """The check means nothing for this adapter; the message says why."""


@dataclass(frozen=True)
class Check:
    """One thing every adapter must do."""

    name: str
    """Identifier, as reports and pytest show it."""
    title: str
    """What is true of a right adapter, one line."""
    mend: str
    """What to look at when it is not, one line."""
    run: Callable[[Any], None]
    """Takes the Subject; raises CheckFailure or NotApplicable."""


CHECKS: dict[str, Check] = {}
"""All checks by name, in the order they are run."""


def check(title: str, mend: str) -> Callable[[Callable[[Any], None]], Callable[[Any], None]]:
    """Enter a function into `CHECKS` under its own name."""

    def enter(run: Callable[[Any], None]) -> Callable[[Any], None]:
        CHECKS[run.__name__] = Check(run.__name__, title, mend, run)
        return run

    return enter


def require(condition: object, what: str) -> None:
    """Raise CheckFailure(what) unless the condition holds."""
    if not condition:
        raise CheckFailure(what)


def require_close(actual: Tensor, expected: Tensor, what: str, tolerance: float = 1e-3) -> None:
    """Raise CheckFailure unless the two differ by at most `tolerance` times the largest expected value.

    Batches of other shapes are summed in another order; the tolerance is wide enough for that and for nothing else.
    """
    require(actual.shape == expected.shape, f"{what}: shape {list(actual.shape)} instead of {list(expected.shape)}")
    if expected.numel() == 0:
        return
    scale = max(expected.float().abs().max().item(), 1e-6)
    error = (actual.float() - expected.float()).abs().max().item()
    require(math.isfinite(error) and error <= tolerance * scale, f"{what}: differs by {error:.2g} of {scale:.2g}")
