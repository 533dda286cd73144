"""`lisa` run inside the test's own process, where torch is loaded already."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from typer.testing import CliRunner

from lisa_core.cli.app import app


@pytest.fixture
def invoke() -> Callable[..., Any]:
    """Run `lisa ARGS`; a crash is raised, a user's error is in `exit_code` and `stderr`."""

    def run(*args: str) -> Any:
        return CliRunner().invoke(app, args, prog_name="lisa", env={"COLUMNS": "100"}, catch_exceptions=False)

    return run


@pytest.fixture
def refusal(invoke: Callable[..., Any]) -> Callable[..., str]:
    """Run `lisa ARGS`, which must be refused in one line with exit code 2, and return that line."""

    def run(*args: str) -> str:
        result = invoke(*args)
        assert result.exit_code == 2, result.stderr
        assert result.stdout == ""
        *before, line = result.stderr.splitlines()
        assert line.startswith("lisa: error: "), result.stderr
        # What was reported before things went wrong is no part of the error, and never looks like one.
        assert not any("error" in other.lower() or "Traceback" in other for other in before), result.stderr
        return line

    return run
