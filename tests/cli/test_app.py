"""The command line's manners: help, version, one line and exit code 2 for a user's error, a traceback for a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import torch
import typer
from typer.testing import CliRunner

import lisa_core
from lisa_core.cli.app import LisaGroup, app
from lisa_core.errors import DataError
from lisa_core.processes import leave_group


@pytest.fixture
def failing_app() -> typer.Typer:
    failing = typer.Typer(cls=LisaGroup, pretty_exceptions_enable=False)

    @failing.callback()
    def options(debug: bool = False) -> None:
        """As `lisa`."""

    @failing.command()
    def mend(count: int = 1) -> None:
        raise DataError("photo.jpg is not\nan image; convert it")

    @failing.command()
    def succeed() -> None:
        """Nothing to do."""

    @failing.command()
    def crash() -> None:
        raise ZeroDivisionError("a bug")

    @failing.command()
    def interrupt() -> None:
        raise KeyboardInterrupt

    return failing


@pytest.mark.parametrize("command", [["train"], ["eval"], ["segment"], ["data"], ["models"], ["plugins"], []])
def test_each_command_has_help(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"])
    assert result.exit_code == 0 and "Usage" in result.output


def test_without_a_command_the_help_is_shown() -> None:
    result = CliRunner().invoke(app, [])
    assert "plugins" in result.output and "train" in result.output


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0 and result.output == f"lisa {lisa_core.__version__}\n"


@pytest.mark.parametrize(
    ("args", "wrong", "command"),
    [
        (["bogus"], "No such command 'bogus'", "lisa"),
        (["--bogus"], "--bogus", "lisa"),
        (["plugins", "--bogus"], "--bogus", "lisa plugins"),
        (["eval"], "Missing argument 'CKPT'", "lisa eval"),
        (["data", "bogus"], "No such command 'bogus'", "lisa data"),
    ],
)
def test_a_usage_error_is_one_line_and_exit_code_2(args: list[str], wrong: str, command: str) -> None:
    result = CliRunner().invoke(app, args, prog_name="lisa")
    assert result.exit_code == 2 and result.stdout == ""
    assert result.stderr.startswith("lisa: error: ") and wrong in result.stderr  # the wording is typer's
    assert result.stderr.endswith(f" (see `{command} --help`)\n") and result.stderr.count("\n") == 1


def test_a_users_error_is_one_line_and_exit_code_2(failing_app: typer.Typer) -> None:
    result = CliRunner().invoke(failing_app, ["mend"])
    assert result.exit_code == 2
    assert result.stderr == "lisa: error: photo.jpg is not an image; convert it\n"


def test_debug_raises_a_users_error(failing_app: typer.Typer) -> None:
    result = CliRunner().invoke(failing_app, ["--debug", "mend"])
    assert isinstance(result.exception, DataError)


def test_a_bad_value_is_one_line(failing_app: typer.Typer) -> None:
    result = CliRunner().invoke(failing_app, ["mend", "--count", "few"])
    assert result.exit_code == 2 and result.stderr.count("\n") == 1
    assert result.stderr.startswith("lisa: error: Invalid value for '--count': ")


def test_a_crash_is_not_hidden(failing_app: typer.Typer) -> None:
    result = CliRunner().invoke(failing_app, ["crash"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_ctrl_c_is_one_line(failing_app: typer.Typer) -> None:
    result = CliRunner().invoke(failing_app, ["interrupt"])
    assert result.exit_code == 130 and result.stderr == "lisa: error: interrupted\n"


def test_one_of_several_processes_leaves_their_group_at_the_end(
    failing_app: typer.Typer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    try:
        assert CliRunner().invoke(failing_app, ["mend"]).exit_code == 2
        assert torch.distributed.is_initialized(), "after an error, others may still wait: the launcher ends them"
        assert CliRunner().invoke(failing_app, ["succeed"]).exit_code == 0
        assert not torch.distributed.is_initialized()
        assert CliRunner().invoke(failing_app, ["succeed"]).exit_code == 0, "a command without a group"
    finally:
        leave_group()


def test_a_crash_is_a_traceback_and_exit_code_1(site, run_lisa) -> None:
    (site.folder / "sitecustomize.py").write_text(
        "import lisa_core.registry as registry\ndef get_registry():\n    raise ZeroDivisionError('a bug')\n"
        "registry.get_registry = get_registry\n"
    )
    result = run_lisa("plugins")
    assert result.returncode == 1
    assert "Traceback (most recent call last)" in result.stderr and "ZeroDivisionError: a bug" in result.stderr


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_ctrl_c_in_a_real_process_while_a_plugin_loads(site, tmp_path) -> None:
    site.write("lisa_slow", "import sys, time\nprint('loading', file=sys.stderr, flush=True)\ntime.sleep(60)")
    process = subprocess.Popen(
        [sys.executable, "-m", "lisa_core", "plugins"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(site.folder)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None and process.stderr.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130 and stderr == "lisa: error: interrupted\n"
