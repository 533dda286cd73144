from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from lisa_core.build import sam_size
from lisa_core.checkpoint import load_checkpoint
from lisa_core.data import open_dataset
from lisa_core.data.collate import Collator
from lisa_core.evaluator import evaluate

EVAL = ("eval", "run", "--data", "scenes", "--device", "cpu")


def expected(folder: Path, split: str = "val", phrasings: str = "first", **options) -> dict:
    """The figures from the Python API."""
    model = load_checkpoint(folder / "run")
    collator = Collator(model.vlm, model.config, sam_size(model.config))
    return evaluate(model, open_dataset(folder / "scenes", split, phrasings), collator, **options).to_dict()


def break_picture(folder: Path) -> Path:
    path = sorted(folder.glob("*.jpg"))[2]
    path.unlink()
    path.write_bytes(b"not a picture")
    return path


@pytest.mark.slow
def test_json_is_all_that_a_real_process_prints(workplace, run_lisa):
    result = run_lisa(*EVAL, "--split", "val", "--json")
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert {"giou", "ciou", "listening", "n"} <= record.keys()
    assert result.stdout.count("\n") == 1
    assert record == json.loads((workplace / "run" / "eval_val.json").read_text())
    assert record["giou"] == pytest.approx(expected(workplace)["giou"], abs=1e-6)
    assert "Warning" not in result.stderr and "Traceback" not in result.stderr


def test_the_json_holds_the_evaluator_s_figures(workplace, invoke):
    result = invoke(*EVAL, "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    figures = expected(workplace)
    assert {key: record[key] for key in figures} == figures
    assert (record["checkpoint"], record["data"], record["split"], record["phrasings"]) == (
        "run",
        "scenes",
        "val",
        "first",
    )
    assert json.loads((workplace / "run" / "eval_val.json").read_text()) == record
    assert not list((workplace / "run").glob("*.new"))


def test_the_table_says_the_same_and_where_the_json_is(workplace, invoke):
    result = invoke(*EVAL)
    assert result.exit_code == 0, result.stderr
    figures = expected(workplace)
    for line in (f"gIoU {figures['giou']:.4f}", f"cIoU {figures['ciou']:.4f}", f"sentences {figures['n']}"):
        name, value = line.split()
        assert any(name in row and value in row for row in result.stdout.splitlines()), line
    assert f"listening accuracy ({figures['listening_pairs']} pairs)" in result.stdout
    assert "gIoU, sentence blanked" in result.stdout and f"{figures['blank_giou']:.4f}" in result.stdout
    for name in ("centre blob", "largest object"):
        assert f"always the {name}" in result.stdout
    assert result.stderr.endswith("written to run/eval_val.json\n")


def test_a_checkpoint_s_own_folder_will_do(workplace, invoke):
    giou = {}
    for path in ("run", "run/best"):
        result = invoke("eval", path, "--data", "scenes", "--json", "--device", "cpu")
        giou[path] = json.loads(result.stdout)["giou"]
    assert giou["run"] == giou["run/best"]
    assert (workplace / "run" / "best" / "eval_val.json").is_file()


def test_options_reach_the_evaluation(workplace, invoke):
    args = ["--split", "train", "--phrasings", "all", "--max-samples", "7", "--no-blank", "-o", "figures.json"]
    result = invoke(*EVAL, *args, "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    figures = expected(workplace, "train", "all", max_samples=7, blank=False)
    assert record["n"] == 7 and record["blank_giou"] is None and record["split"] == "train"
    assert {key: record[key] for key in figures} == figures
    assert json.loads(Path("figures.json").read_text()) == record
    assert not list((workplace / "run").glob("eval_*"))


def test_a_corrupt_sample_stops_or_is_left_out(workplace, invoke, refusal):
    path = break_picture(workplace / "scenes" / "val").relative_to(workplace)
    assert refusal(*EVAL).startswith(f"lisa: error: {path} is not an image")
    annotation = sorted((workplace / "scenes" / "val").glob("*.json"))[0].relative_to(workplace)
    annotation.write_text("[]")
    assert str(annotation) in refusal(*EVAL)
    result = invoke(*EVAL, "--on-error", "skip", "--json")
    assert result.exit_code == 0, result.stderr
    for name in (path, annotation):
        assert f"skipped: {name}" in result.stderr
    assert json.loads(result.stdout)["skipped"] == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["eval", "absent", "--data", "scenes"], "no checkpoint at absent"),
        (["eval", "scenes", "--data", "scenes"], "no checkpoint at scenes"),
        (["eval", "run", "--data", "absent"], "data folder absent does not exist"),
        (["eval", "run"], "Missing option '--data'"),
        ([*EVAL, "--split", "nosuch"], "scenes has no split 'nosuch'"),
        ([*EVAL, "--batch-size", "0"], "Invalid value for '--batch-size'"),
        ([*EVAL, "-o", "absent/figures.json"], "--output: the folder absent does not exist"),
        ([*EVAL, "-o", "scenes"], "--output: scenes is a folder"),
        pytest.param(
            [*EVAL, "--device", "cuda"],
            "--device cuda, but torch sees no CUDA device here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA here"),
        ),
        ([*EVAL, "--device", "toaster"], "'toaster' is not a device that can be used here"),
    ],
)
def test_bad_input_is_one_line(workplace, refusal, args, said):
    assert said in refusal(*args)
    assert not list((workplace / "run").glob("eval_*"))


def test_figures_that_cannot_be_written_are_printed_all_the_same(workplace, invoke, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.replace", refuse)
    result = invoke(*EVAL, "--json")
    assert json.loads(result.stdout)["n"] == len(open_dataset("scenes", "val", "first"))
    assert result.exit_code == 2
    assert result.stderr.endswith(
        "lisa: error: cannot write run/eval_val.json (Permission denied): choose another --output\n"
    )


def test_a_split_in_a_folder_of_a_folder(workplace, invoke):
    (workplace / "scenes" / "val").rename(workplace / "scenes" / "held")
    (workplace / "all").mkdir()
    (workplace / "scenes").rename(workplace / "all" / "scenes")
    result = invoke("eval", "run", "--data", "all", "--split", "scenes/held", "--json")
    assert result.exit_code == 0, result.stderr
    assert json.loads((workplace / "run" / "eval_scenes_held.json").read_text()) == json.loads(result.stdout)


def test_a_missing_folder_in_a_real_process(run_lisa):
    result = run_lisa("eval", "run", "--data", "absent")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == ("lisa: error: data folder absent does not exist or is not a folder: check the path\n")
