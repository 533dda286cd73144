"""What must answer at once imports neither torch nor transformers; benchmarks/startup.py has the times."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "accelerate", "safetensors", "segment_anything")
CLI = sorted(path.stem for path in (Path(__file__).parents[1] / "src" / "lisa_core" / "cli").glob("[!_]*.py"))


def imported(code: str, cwd: Path) -> set[str]:
    """Top-level names of the modules that are loaded after `code`, whatever it printed."""
    report = r"print('\n', sorted({name.split('.')[0] for name in sys.modules}), sep='')"
    code = f"import sys\ntry:\n    {code}\nfinally:\n    {report}"
    run = subprocess.run([sys.executable, "-c", code], cwd=cwd, capture_output=True, text=True, timeout=120)
    return set(ast.literal_eval(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "args",
    [
        ["--help"],
        ["--version"],
        ["plugins"],
        ["plugins", "--json"],
        ["train", "--help"],
        ["train", "--vlm", "smolvlm", "--help"],
        ["train", "--vlm-model-name", "tiny", "--data", ".", "--output-dir", "run"],
        ["models"],
        ["models", "--json"],
        ["models", "no such name"],
        ["data", "--help"],
        ["train", "--bogus"],
        [],
    ],
    ids=" ".join,
)
def test_quick_commands_import_nothing_heavy(args: list[str], tmp_path: Path) -> None:
    modules = imported(f"sys.argv = ['lisa', *{args!r}]; from lisa_core.cli.app import main; main()", tmp_path)
    assert "typer" in modules
    assert modules.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    "module",
    [
        "lisa_core",
        "lisa_core.config",
        "lisa_core.registry",
        "lisa_core.families",
        "lisa_core.catalogue",
        "lisa_smolvlm",
        *(f"lisa_core.cli.{name}" for name in CLI),
    ],
)
def test_light_modules_import_nothing_heavy(module: str, tmp_path: Path) -> None:
    modules = imported(f"import {module}", tmp_path)
    assert module.split(".")[0] in modules
    assert modules.isdisjoint({*HEAVY, "numpy", "PIL"})


def test_a_checkpoint_s_family_is_told_without_torch(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "smolvlm"}')
    code = "from lisa_core.families import family_of_checkpoint as f; assert f('.') == 'smolvlm'"
    modules = imported(code, tmp_path)
    assert "lisa_smolvlm" in modules and modules.isdisjoint(HEAVY)


@pytest.mark.parametrize("module", ["base", "reasonseg", "synth"])
def test_data_is_read_without_torch(module: str, tmp_path: Path) -> None:
    assert imported(f"import lisa_core.data.{module}", tmp_path).isdisjoint(HEAVY)
