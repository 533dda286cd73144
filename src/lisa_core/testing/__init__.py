"""The conformance kit: checks that tell an adapter's author whether the adapter is right.

With pytest, subclass `VLMSuite`; without, `lisa plugins check NAME` or `run_checks`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from lisa_core.testing.registration import misplaced_cells
from lisa_core.testing.report import write_report
from lisa_core.testing.run import ALL_CHECKS, Result, run_check, run_checks
from lisa_core.testing.subject import Subject

if TYPE_CHECKING:
    from lisa_core.testing.suite import VLMSuite

__all__ = ["ALL_CHECKS", "Result", "Subject", "VLMSuite", "misplaced_cells", "run_check", "run_checks", "write_report"]


def __getattr__(name: str) -> Any:
    """Import the suite when it is asked for: it needs pytest, the checks do not."""
    if name == "VLMSuite":
        return import_module("lisa_core.testing.suite").VLMSuite
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
