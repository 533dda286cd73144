from __future__ import annotations

import builtins
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_core.plots import draw_runs
from lisa_core.run_history import read_run


def picture(path: str) -> Image.Image:
    """A picture that decodes and shows more than an empty page."""
    with Image.open(path) as image:
        image.load()
        assert np.asarray(image.convert("L")).std() > 10
        return image.copy()


@pytest.fixture(scope="module")
def alone(trained) -> bytes:
    """The picture of the trained run."""
    return draw_runs([read_run(trained.folder / "run")])


def test_one_run_s_curves_go_into_its_folder(workplace, invoke, alone):
    result = invoke("plot", "run")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "wrote run/curves.png\n")
    assert picture("run/curves.png").size[0] == 1560
    assert Path("run/curves.png").read_bytes() == alone
    assert not list(workplace.rglob("*.new"))


def test_several_runs_go_into_the_current_folder(workplace, invoke, alone):
    shutil.copytree("run", "runs/other", symlinks=True)
    result = invoke("plot", "run", "runs")
    assert result.exit_code == 0 and result.stderr == "wrote curves.png\n"
    both = [read_run(Path("run")), read_run(Path("runs/other"))]
    assert Path("curves.png").read_bytes() == draw_runs(both) != alone
    assert not Path("run/curves.png").exists()


@pytest.mark.slow
def test_output_and_smoothing(workplace, invoke):
    assert invoke("plot", "run", "-o", "a.png", "--smooth", "3").exit_code == 0
    assert Path("a.png").read_bytes() == draw_runs([read_run(Path("run"))], 3)
    assert invoke("plot", "run", "--output", "a.svg").exit_code == 0
    assert "</svg>" in Path("a.svg").read_text()
    assert invoke("plot", "run", "-o", "a.pdf").exit_code == 0
    assert Path("a.pdf").read_bytes().startswith(b"%PDF")


def test_a_run_that_is_being_written(workplace, invoke):
    log = Path("run/metrics.jsonl")
    log.write_text(log.read_text().splitlines(keepends=True)[0] + '{"kind": "st')
    result = invoke("plot", "run")
    assert result.exit_code == 0 and "the last line of metrics.jsonl is incomplete" in result.stderr
    picture("run/curves.png")


def test_what_cannot_be_read_below_a_folder_is_named_and_left_out(workplace, invoke, refusal):
    shutil.copytree("run", "runs/good", symlinks=True)
    shutil.copytree("run", "runs/bad", symlinks=True)
    Path("runs/bad/config.json").unlink()
    result = invoke("plot", "runs")
    assert result.exit_code == 0
    assert result.stderr.splitlines()[-1] == "wrote runs/good/curves.png"
    assert "left out: runs/bad/config.json is missing" in result.stderr
    assert "runs/bad/config.json is missing" in refusal("plot", "run", "runs/bad")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        ([], "Missing argument 'RUN'"),
        (["absent"], "absent is not there or is no folder"),
        (["scenes"], "there is no run at or below scenes"),
        (["run", "-o", "run"], "run is a folder"),
        (["run", "-o", "absent/a.png"], "the folder absent does not exist"),
        (["run", "-o", "a.gif"], "none of the endings .png"),
        (["run", "--smooth", "0"], "'--smooth'"),
    ],
)
def test_bad_input_is_one_line(workplace, refusal, args, said):
    assert said in refusal("plot", *args)
    assert not list(workplace.glob("*.png"))


def test_an_empty_run_and_a_folder_that_cannot_be_written(workplace, refusal, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", refuse)
        assert "cannot write run/curves.png (Permission denied)" in refusal("plot", "run")
    Path("run/metrics.jsonl").write_text("")
    assert "run has not logged a step yet" in refusal("plot", "run")


def test_without_matplotlib_it_is_one_line_that_says_what_to_install(workplace, refusal, monkeypatch):
    real = builtins.__import__

    def absent(name, *args, **kwargs):
        if name.partition(".")[0] == "matplotlib":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "lisa_core.plots")
    monkeypatch.setattr(builtins, "__import__", absent)
    assert "pip install 'lisa-core[plot]'" in refusal("plot", "run")


def test_a_real_process(workplace, run_lisa):
    result = run_lisa("plot", "run", "-o", "mine.png", MPLBACKEND="TkAgg", DISPLAY="")
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines()[-1] == "wrote mine.png" and "Warning" not in result.stderr
    picture("mine.png")
