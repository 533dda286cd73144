"""Runs the conformance kit and keeps what came out."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from lisa_core.discovery import one_line
from lisa_core.testing import contract, image, text, training
from lisa_core.testing.check import CHECKS, Check, CheckFailure, NotApplicable
from lisa_core.testing.subject import Subject

ALL_CHECKS: tuple[Check, ...] = tuple(CHECKS.values())
"""Every check there is; the imports above entered them."""
MODULES = (contract, image, text, training)


@dataclass(frozen=True)
class Result:
    """How one check came out."""

    name: str
    title: str
    status: Literal["passed", "failed", "not applicable"]
    message: str
    """What is wrong, or why the check does not apply; empty if it passed."""
    mend: str
    """What to look at; empty unless it failed."""
    seconds: float


def run_check(check: Check, subject: Subject) -> Result:
    """Run one check; whatever the adapter raises is a failure with the place it was raised at."""
    started = time.monotonic()
    status: Literal["passed", "failed", "not applicable"] = "passed"
    message = ""
    try:
        check.run(subject)
    except NotApplicable as reason:
        status, message = "not applicable", str(reason)
    except CheckFailure as failure:
        status, message = "failed", str(failure)
    except Exception as error:  # an adapter may raise anything; here that is a result
        frame = traceback.extract_tb(error.__traceback__)[-1]
        status, message = "failed", f"raised {one_line(error)} (in {frame.name}, {frame.filename}:{frame.lineno})"
    mend = check.mend if status == "failed" else ""
    return Result(check.name, check.title, status, message, mend, time.monotonic() - started)


def run_checks(
    adapter: str | Callable[[], object] | Subject,
    names: Iterable[str] | None = None,
    tell: Callable[[Result], None] | None = None,
) -> list[Result]:
    """Run the kit on an adapter.

    Args:
        adapter: an installed family's name, or a function that builds a tiny model.
        names: checks to run; default all.
        tell: called with each result as it comes.

    Raises:
        PluginError: if there is no such family, or it cannot be imported.
    """
    subject = Subject.of(adapter)  # type: ignore[arg-type]
    wanted = None if names is None else set(names)
    results = []
    for check in ALL_CHECKS:
        if wanted is None or check.name in wanted:
            results.append(run_check(check, subject))
            if tell is not None:
                tell(results[-1])
    return results
