from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lisa_core.data import open_dataset
from lisa_core.evaluation_file import write_evaluation
from lisa_core.outputs import mask_to_rle
from lisa_core.predictions import SavedMask, write_predictions
from lisa_core.scored_predictions import evaluate_predictions


@pytest.fixture
def place(scenes, tmp_path, monkeypatch) -> Path:
    """Two files of masks of the scenes, the second better, and the evaluations of both, in the current directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scenes").symlink_to(scenes)
    dataset = open_dataset("scenes", "val", "first")
    for name, shift in (("a", 4), ("b", 1)):
        masks = []
        for k, sample in enumerate(dataset.samples):
            mask = np.roll(dataset.load(k).mask == 1, shift, axis=0)
            masks.append(SavedMask(sample.id, sample.text, sample.image_path.name, mask_to_rle(mask), 0.5))
        write_predictions(Path(f"{name}.jsonl"), masks)
        result = evaluate_predictions(dataset, {mask.id: mask for mask in masks})
        (tmp_path / name).mkdir()
        write_evaluation(tmp_path / name / "eval_val.json", {"protocol": "teacher-forced"}, result.records)
    return tmp_path


def sentences() -> int:
    return len(open_dataset("scenes", "val", "first"))


def test_runs_files_and_masks_compare_the_same(place, invoke):
    data = ("--data", "scenes")
    records = []
    for a, b, args in (
        ("a", "b", ()),
        ("a/eval_val.json", "b/eval_val.json", ()),
        ("a.jsonl", "b.jsonl", data),
        ("a", "b.jsonl", data),
    ):
        result = invoke("compare", a, b, "--json", *args)
        assert result.exit_code == 0, result.stderr
        record = json.loads(result.stdout)
        assert (record.pop("a"), record.pop("b")) == (a, b)
        records.append(record)
    assert all(record == records[0] for record in records[1:])
    giou = records[0]["figures"]["giou"]
    assert giou["difference"] == pytest.approx(giou["b"] - giou["a"]) and giou["low"] > 0.1
    assert giou["verdict"] == "B better" and records[0]["only_a"] == 0
    assert len(records[0]["changed"]) == 10


def test_the_table_says_what_is_better_and_what_changed(place, invoke):
    result = invoke("compare", "a", "b", "--changed", "3")
    assert result.exit_code == 0 and result.stderr == ""
    (row,) = [line for line in result.stdout.splitlines() if line.startswith("│ gIoU ")]
    assert "B better" in row and " to " in row
    assert result.stdout.count("scene_") == 3 and f"{sentences()} sentences about 4 pictures" in result.stdout
    back = invoke("compare", "b", "a").stdout
    (row,) = [line for line in back.splitlines() if line.startswith("│ gIoU ")]
    assert "A better" in row
    for by in ("form", "text length", "mask size"):
        assert by in result.stdout


def test_a_report_with_pictures_if_there_are_masks(place, invoke):
    result = invoke("compare", "a", "b", "--report", "plain.html")
    assert result.exit_code == 0 and result.stderr == "written to plain.html\n"
    assert "<article" not in Path("plain.html").read_text()
    result = invoke("compare", "a.jsonl", "b.jsonl", "--data", "scenes", "--report", "pages", "--changed", "2")
    assert result.exit_code == 0 and result.stderr == "written to pages/index.html\n"
    assert Path("pages/index.html").read_text().count("<article") == 2


def test_masks_of_several_datasets(place, invoke):
    (place / "again").symlink_to(place / "scenes")
    for name in ("a", "b"):
        entries = [json.loads(line) for line in Path(f"{name}.jsonl").read_text().splitlines()]
        lines = [entry | {"id": f"{part}:{entry['id']}"} for part in ("scenes", "more") for entry in entries]
        Path(f"{name}2.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    result = invoke("compare", "a2.jsonl", "b2.jsonl", "--data", "scenes||more=again", "--json")
    assert result.exit_code == 0, result.stderr
    record = json.loads(result.stdout)
    alone = json.loads(invoke("compare", "a.jsonl", "b.jsonl", "--data", "scenes", "--json").stdout)
    assert record["n"] == 2 * alone["n"]
    assert record["breakdowns"]["source"].keys() == {"scenes", "more"}


def test_other_sentences_need_common(place, invoke, refusal):
    lines = Path("a.jsonl").read_text().splitlines()
    Path("a.jsonl").write_text("\n".join(lines[:-3]) + "\n")
    args = ("compare", "a.jsonl", "b.jsonl", "--data", "scenes")
    said = refusal(*args)
    assert f"0 only in A, 3 only in B, {sentences() - 3} in both" in said and "--common" in said
    result = invoke(*args, "--common")
    assert result.exit_code == 0 and "left out: 0 only in A, 3 only in B" in result.stdout


def test_two_protocols_are_pointed_out(place, invoke):
    from lisa_core.evaluation_file import read_evaluation

    stored = read_evaluation(Path("a"))
    write_evaluation(Path("a/eval_val.json"), {"protocol": "generated"}, stored.records)
    result = invoke("compare", "a", "b", "--report", "c.html")
    line = "A was evaluated generated, B teacher-forced: that is part of the difference"
    assert result.stderr == f"note: {line}\nwritten to c.html\n"
    assert line in Path("c.html").read_text()
    cut = {"protocol": "teacher-forced", "mask_temperature": 2.0}
    write_evaluation(Path("a/eval_val.json"), cut, stored.records)
    said = "A was evaluated teacher-forced with mask temperature 2, B teacher-forced: that is part"
    assert said in invoke("compare", "a", "b").stderr
    write_evaluation(Path("a/eval_val.json"), {}, [replace(stored.records[0], text="it"), *stored.records[1:]])
    assert "has another sentence or truth in A than in B" in invoke("compare", "a", "b").stderr


def test_other_evaluations_of_the_same_runs_do_not_get_in_the_way(place, invoke, refusal):
    from lisa_core.evaluation_file import evaluation_path, read_evaluation

    before = invoke("compare", "a", "b", "--json").stdout
    for name in ("a", "b"):
        stored = read_evaluation(Path(name))
        for options in ({"protocol": "generated"}, {"first": 2}):
            path = evaluation_path(Path(name), "val", **options)
            write_evaluation(path, {"protocol": "generated"}, stored.records[:2])
    assert invoke("compare", "a", "b", "--json").stdout == before
    Path("a/eval_val.json").unlink()
    said = refusal("compare", "a", "b")
    assert "a was not evaluated on all of split val" in said
    assert "give one of the files there: eval_val_first2.json, eval_val_generated.json" in said


def test_a_damaged_sample_is_named(place, refusal):
    path = Path("a/eval_val.json")
    content = json.loads(path.read_text())
    content["samples"][1]["intersection"] = "4"
    path.write_text(json.dumps(content))
    name = content["samples"][1]["id"]
    said = refusal("compare", "a", "b")
    assert f"(sample 2, {name!r}: `intersection` must be a whole number from 0, not '4')" in said


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["a"], "Missing argument 'B'"),
        (["a", "absent.json"], "absent.json does not exist: give a file that `lisa eval` wrote"),
        (["a", "scenes"], "scenes was not evaluated on split val: run `lisa eval scenes --data DATA --split val`"),
        (["a", "b", "--split", "test"], "a was not evaluated on split test"),
        (["a.jsonl", "b.jsonl"], "a.jsonl holds masks, so the truth is needed too: give --data and --split"),
        (["a.jsonl", "b.jsonl", "--data", "absent"], "data folder absent does not exist"),
        (["a", "b", "--report", "absent/x.html"], "--report: the folder absent does not exist"),
    ],
)
def test_bad_input_is_one_line(place, refusal, args, said):
    assert said in refusal("compare", *args)


def test_masks_of_another_split_are_told_by_their_sentences(place, refusal):
    for name in ("a.jsonl", "b.jsonl"):
        first = Path(name).read_text().splitlines()[0]
        Path(name).write_text(first + "\n")
    assert "but the sample's is" in refusal("compare", "a.jsonl", "b.jsonl", "--data", "scenes", "--split", "train")


def test_in_a_real_process_and_without_torch(place, run_lisa):
    result = run_lisa("compare", "a", "b.jsonl", "--data", "scenes", "--json", PYTHONPROFILEIMPORTTIME="1")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["figures"]["giou"]["verdict"] == "B better"
    assert "lisa_core.bootstrap" in result.stderr and " torch\n" not in result.stderr
