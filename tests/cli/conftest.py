"""`lisa` run inside the test's own process, where torch is loaded already."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.testing
from typer.testing import CliRunner

from lisa_core.cli.app import app


@pytest.fixture(autouse=True, scope="package")
def one_tree_of_commands() -> Iterator[None]:
    """Typer's runner builds all commands with their options anew for each call; a real process builds them once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", functools.cache(typer.testing._get_command))
        yield


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the folder that a module has `made` once, as the current directory."""
    shutil.copytree(made, tmp_path, symlinks=True, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


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
