from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lisa_core.cli.data import app
from lisa_core.data import open_dataset
from lisa_core.errors import LisaError

runner = CliRunner()
SMALL = ["--train", "3", "--val", "2", "--test", "1", "--size", "96"]


def test_synth_writes_a_dataset_and_says_what(tmp_path: Path) -> None:
    result = runner.invoke(app, ["synth", str(tmp_path / "shapes"), *SMALL], catch_exceptions=False)
    assert result.exit_code == 0
    assert "train" in result.stdout and "red star" in result.stdout.replace("\n", " ")
    assert len(open_dataset(tmp_path / "shapes", "train", "first")) >= 6


def test_json_is_the_manifest_and_nothing_else(tmp_path: Path) -> None:
    result = runner.invoke(app, ["synth", str(tmp_path / "x"), *SMALL, "--json"], catch_exceptions=False)
    assert json.loads(result.stdout) == json.loads((tmp_path / "x" / "synth.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["--max-objects", "0", "--min-objects", "0"], "objects are 0 to 0"),
        (["--size", "31"], "size is 31"),
        (["--train", "-1"], "train is -1"),
        (["--min-objects", "4", "--max-objects", "3"], "objects are 4 to 3"),
        (["--train", "0", "--val", "0", "--test", "0"], "nothing to write"),
    ],
)
def test_bad_numbers_are_one_line_and_write_nothing(tmp_path: Path, arguments: list[str], word: str) -> None:
    result = runner.invoke(app, ["synth", str(tmp_path / "x"), *SMALL, *arguments])
    assert isinstance(result.exception, LisaError)
    assert word in str(result.exception) and "\n" not in str(result.exception)
    assert not (tmp_path / "x").exists()


def test_force_replaces_only_what_synth_wrote(tmp_path: Path) -> None:
    assert runner.invoke(app, ["synth", str(tmp_path), *SMALL]).exit_code == 0
    again = runner.invoke(app, ["synth", str(tmp_path), *SMALL])
    assert isinstance(again.exception, LisaError) and "--force" in str(again.exception)
    assert runner.invoke(app, ["synth", str(tmp_path), *SMALL, "--force"], catch_exceptions=False).exit_code == 0


def test_help_names_the_layout_and_an_example() -> None:
    text = runner.invoke(app, ["synth", "--help"]).stdout
    for expected in ("ReasonSeg", "lisa data synth shapes", "scene_00012_0", "--force"):
        assert expected in text


def test_the_command_module_imports_nothing_heavy() -> None:
    code = "import sys, lisa_core.cli.data; print(*{'torch', 'numpy', 'PIL', 'transformers'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
