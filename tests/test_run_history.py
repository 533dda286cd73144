"""Runs are found, read and put in order: real ones, unfinished ones and what is left of others."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from datetime import datetime, timezone
from pathlib import Path

import pytest

from lisa_core.config import TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.run_history import find_runs, is_run, read_run, read_runs, sorted_runs

VAL = {"giou": 0.5, "ciou": 0.4, "listening": 0.75}


def make(folder: Path, *records: dict, environment: dict | None = None, **sections) -> Path:
    """A run's folder as RunFolder writes it, with made-up records."""
    folder.mkdir(parents=True)
    config = dataclasses.asdict(dataclasses.replace(TrainConfig(), **sections))
    config["environment"] = environment or {}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


def epoch(number: int, **val) -> dict:
    record = {"kind": "epoch", "epoch": number, "step": 5 * number, "seconds": 2.0, "peak_memory_bytes": 1000 * number}
    return record | ({"val": VAL | val} if val else {})


def step(number: int, in_epoch: int) -> dict:
    return {"kind": "step", "step": number, "epoch": in_epoch, "masks": 4.0, "loss": 1.0}


def test_a_real_run(trained):
    folder = trained.folder / "run"
    run = read_run(folder)
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    config = json.loads((folder / "config.json").read_text())
    steps = [record for record in records if record["kind"] == "step"]
    (last,) = [record for record in records if record["kind"] == "epoch"]
    assert (run.name, run.family, run.model, run.trains) == ("run", "smolvlm", "tiny", "full")
    assert (run.state, run.epochs_done, run.epochs_planned, run.seed) == ("finished", 1, 1, 3)
    assert run.log.last_step == len(steps) > 1 and run.best == last
    assert run.seconds == last["seconds"] and run.peak_memory_bytes == last["peak_memory_bytes"]
    assert run.sentences_per_second == sum(record["masks"] for record in steps) / last["seconds"]
    assert run.started == datetime.fromisoformat(config["environment"]["started"])
    assert run.last_write.timestamp() == pytest.approx((folder / "metrics.jsonl").stat().st_mtime, abs=1e-3)
    assert run.config["optim"]["learning_rate"] == 1e-3, "resolved, as the environment section has it"
    record = run.to_dict()
    assert record["best"] == {"epoch": 1, "step": len(steps), **last["val"]} and record["test"] is None
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_it_is_the_run_s_own_best_checkpoint(trained):
    best = json.loads((trained.folder / "run" / "best" / "lisa.json").read_text())["progress"]
    run = read_run(trained.folder / "run")
    assert run.best is not None
    assert (best["epoch"], best["step"], best["val"]) == (run.best["epoch"], run.best["step"], run.best["val"])


def test_a_real_run_that_was_cut_off(workplace):
    log = workplace / "run" / "metrics.jsonl"
    whole = read_run(workplace / "run").log.steps.rows
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[: whole - 1]) + lines[whole - 1][:30])
    run = read_run(workplace / "run")
    assert (run.state, run.epochs_done, run.log.last_step, run.best) == ("unfinished", 0, whole - 1, None)
    assert (run.seconds, run.sentences_per_second, run.peak_memory_bytes) == (0, None, None)
    (note,) = run.to_dict()["notes"]
    assert "last line" in note


def test_the_best_epoch_is_the_first_of_equals_and_not_every_epoch_is_validated(tmp_path):
    values = [epoch(1, giou=0.2), epoch(2), epoch(3, giou=0.6, ciou=0.1), epoch(4, giou=0.6, ciou=0.9)]
    run = read_run(make(tmp_path / "a", step(1, 1), step(6, 2), *values, step(21, 5)))
    assert run.best == values[2]
    assert (run.epochs_done, run.epochs_planned, run.state, run.log.last_step) == (4, 10, "unfinished", 21)
    assert (run.seconds, run.peak_memory_bytes, run.sentences_per_second) == (8.0, 4000, 1.0)


@pytest.mark.parametrize(
    ("tuning", "shown"),
    [
        ({}, "full"),
        ({"vlm_freeze": True}, "freeze"),
        ({"vlm_use_lora": True, "vlm_lora_r": 8}, "lora r=8"),
        ({"use_lora": True}, "lora r=16 + vision lora"),
        ({"vlm_use_lora": True, "tune_vision": "train"}, "lora r=16 + vision full"),
        ({"tune_vision": "freeze"}, "full + vision freeze"),
        ({"vlm_use_lora": True, "vlm_use_quantization": True}, "lora r=16 4bit"),
        ({"vlm_freeze": True, "vlm_quantization": "8bit"}, "freeze 8bit"),
    ],
)
def test_what_trains_is_told_in_a_word(tmp_path, tuning, shown):
    assert read_run(make(tmp_path / "a", tuning=TuningConfig(**tuning))).trains == shown


def test_a_pair_is_named_by_both_of_its_models(tmp_path):
    model = ModelConfig(vlm="clip-llm", image_encoder_model_name="o/clip", text_encoder_model_name="q/llm")
    run = read_run(make(tmp_path / "a", model=model))
    assert (run.family, run.model) == ("clip-llm", "o/clip+q/llm")
    assert read_run(make(tmp_path / "b", model=ModelConfig(vlm="llava"))).model is None


def test_commit_and_start(tmp_path):
    git = {"commit": "abc", "dirty": True}
    run = read_run(make(tmp_path / "a", environment={"git": git, "started": "2026-01-02T03:04:05+00:00"}))
    assert run.commit == "abc+" and run.started == datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    bare = read_run(make(tmp_path / "b", environment={"git": None, "started": "yesterday"}))
    assert bare.commit is None and bare.started is None


def test_settings_of_other_versions_do_no_harm(tmp_path):
    folder = make(tmp_path / "a", epoch(1, giou=0.3))
    config = json.loads((folder / "config.json").read_text())
    config["tuning"]["of_the_future"] = [1]
    del config["tuning"]["vlm_lora_r"], config["speed"]
    (folder / "config.json").write_text(json.dumps(config))
    assert read_run(folder).trains == "full"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "config.json is missing"),
        ("", "config.json is damaged"),
        ('{"model": {', "config.json is damaged"),
        ("[]", "it holds a list"),
        ('{"model_type": "llava"}', "it has no model, tuning, data, optim"),
        ('{"model": {}, "tuning": 3, "data": {}, "optim": {}}', "it has no tuning"),
    ],
)
def test_a_run_that_cannot_be_read_is_one_line_and_the_others_are_read(tmp_path, content, said):
    good, bad = make(tmp_path / "good", epoch(1, giou=0.3)), make(tmp_path / "bad", epoch(1, giou=0.3))
    (bad / "config.json").unlink()
    if content is not None:
        (bad / "config.json").write_text(content)
    runs, faults = read_runs(find_runs([tmp_path]))
    assert [run.path for run in runs] == [good]
    assert list(faults) == [bad] and said in faults[bad] and str(bad) in faults[bad] and "\n" not in faults[bad]


def test_a_run_without_its_log_is_one_line(workplace):
    (workplace / "run" / "metrics.jsonl").unlink()
    assert is_run(workplace / "run")
    with pytest.raises(ConfigError, match=r"metrics\.jsonl is missing"):
        read_run(workplace / "run")


def test_runs_are_found_at_and_below_paths_each_once(tmp_path, trained):
    a, b, c = (make(tmp_path / name) for name in ("runs/a", "runs/deep/b", "other/c"))
    inner = make(a / "variants" / "d")
    make(a / "checkpoints" / "e")  # nobody trains into there, and there may be many large folders
    shutil.copytree(trained.folder / "run", tmp_path / "runs" / "real", symlinks=True)
    os.symlink(c, tmp_path / "runs" / "link")
    os.symlink(tmp_path / "runs", tmp_path / "runs" / "deep" / "loop")
    real = tmp_path / "runs" / "real"
    assert find_runs([tmp_path / "runs"]) == [tmp_path / "runs" / "link", a, inner, b, real]
    assert find_runs([b, tmp_path / "runs" / "deep", tmp_path / "other"]) == [b, c]
    assert find_runs([a]) == [a, inner]
    assert find_runs([tmp_path / "other", tmp_path / "runs" / "link", c]) == [c]


def test_a_model_s_folder_is_no_run(tmp_path, trained):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"model_type": "llava"}')
    for folder in (tmp_path, trained.folder / "run" / "best", trained.folder / "scenes"):
        with pytest.raises(ConfigError, match="there is no run at or below"):
            find_runs([folder])


def test_a_path_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="is not there or is no folder"):
        find_runs([tmp_path / "absent"])


def test_runs_in_order(tmp_path):
    times = {"a": "2026-01-01T00:00:00+00:00", "b": "2026-01-03T00:00:00", "d": "2026-01-02T00:00:00+00:00"}
    figures = {"a": (0.2, 0.9), "b": (0.6, 0.1), "c": (0.2, 0.8)}
    for name in ("c", "a", "d", "b"):
        records = [epoch(1, giou=figures[name][0], ciou=figures[name][1])] if name in figures else []
        make(tmp_path / name, *records, environment={"started": times.get(name)})
    runs, _ = read_runs(find_runs([tmp_path]))
    order = {by: "".join(run.name for run in sorted_runs(runs[::-1], by)) for by in ("gIoU", "cIoU", "started", "name")}
    assert order == {"gIoU": "bacd", "cIoU": "acbd", "started": "bdac", "name": "abcd"}
    with pytest.raises(ConfigError, match="choose among gIoU"):
        sorted_runs(runs, "loss")  # type: ignore[arg-type]
