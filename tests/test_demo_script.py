"""What `make demo` runs, shortened: from the packaged model to a contact sheet."""

from __future__ import annotations

import json
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[1] / "examples" / "demo.py"


@pytest.mark.slow
def test_the_demo_keeps_what_the_packaged_model_can_do(tmp_path: Path) -> None:
    command = [sys.executable, str(DEMO), "--out", str(tmp_path), "--epochs", "1"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert ", 1 epoch from tiny:" in done.stdout and (tmp_path / "contact_sheet.png").is_file()
    found = json.loads((tmp_path / "clip-llm" / "eval_val.json").read_text())
    assert found["giou"] >= 0.8 and found["listening"] >= 0.93
    assert found["swapped_giou"] < found["blank_giou"] < found["baselines"]["largest_object"] < found["giou"]


def test_a_command_that_fails_has_the_last_word(capfd: pytest.CaptureFixture[str]) -> None:
    demo = runpy.run_path(str(DEMO))
    with pytest.raises(SystemExit) as stopped:
        demo["lisa"]("trian")
    assert stopped.value.code == 2 and "trian" in capfd.readouterr().err
