"""Runs over several datasets, as a user starts them: what is logged, and that resuming changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.progress import Reporter, dataset_lines
from lisa_core.run_history import read_run
from lisa_core.trainer import Trainer

sys.path.append(str(Path(__file__).parent / "data"))
import builders


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    for split in ("train", "val"):
        builders.write_sa2va(folder / "refer_seg", split=split)
    builders.write_llava_instruct(folder / "vqa")
    builders.write_muse(folder / "x" / "reason_seg")
    return folder


def config(sets: Path, out: Path, **run: Any) -> TrainConfig:
    fusion = run.pop("fusion", "joint")
    return TrainConfig(
        model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny", fusion=fusion),
        data=DataConfig(
            data=str(sets),
            dataset="refer_seg||vqa||x/reason_seg",
            sample_rates="2,3,1",
            steps_per_epoch=3,
            batch_size=4,
        ),
        optim=OptimConfig(num_epochs=2),
        run=RunConfig(output_dir=str(out), device="cpu", sample_masks=0, save_every=1, keep_last=9, **run),
    )


class Listener(Reporter):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


def log(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_run_over_three_datasets_logs_each_and_goes_on_as_if_never_stopped(sets: Path, tmp_path: Path) -> None:
    said = Listener()
    Trainer(config(sets, tmp_path / "run"), said).run()
    assert any("vqa has no split 'val'" in line for line in said.lines)
    records = log(tmp_path / "run")
    steps = [record for record in records if record["kind"] == "step"]
    epochs = [record for record in records if record["kind"] == "epoch"]
    assert len(steps) == 6 and len(epochs) == 2
    counted: dict[str, float] = {}
    for step in steps:
        assert sum(of["samples"] for of in step["datasets"].values()) == 4
        assert sum(of["masks"] for of in step["datasets"].values()) == step["masks"]
        for name, of in step["datasets"].items():
            counted[name] = counted.get(name, 0) + of["samples"]
            assert of["loss"] > 0 and (of["masks"] > 0) == (name != "vqa")
    assert counted == {"refer_seg": 8, "vqa": 12, "reason_seg": 4}
    for epoch in epochs:
        assert set(epoch["train_datasets"]) == set(counted) and set(epoch["val"]["datasets"]) == {
            "refer_seg",
            "reason_seg",
        }
        assert epoch["val"]["n"] == sum(of["n"] for of in epoch["val"]["datasets"].values())
        mean = sum(of["giou"] * of["n"] for of in epoch["val"]["datasets"].values()) / epoch["val"]["n"]
        assert mean == pytest.approx(epoch["val"]["giou"])
        assert len(dataset_lines(epoch)) == 3
    assert read_run(tmp_path / "run").best is not None  # the tools that read runs know the log still
    # Stopped after the second step of the second epoch, and gone on with.
    last = Trainer(config(sets, tmp_path / "run", resume=str(tmp_path / "run" / "checkpoints" / "step-00000005")))
    weights = {
        name: value.clone() for name, value in _weights(tmp_path / "run" / "checkpoints" / "step-00000006").items()
    }
    last.run()
    again = _weights(tmp_path / "run" / "checkpoints" / "step-00000006")
    assert all(torch.equal(weights[name], again[name]) for name in weights)
    timeless = [{k: v for k, v in record.items() if k not in ("seconds", "peak_memory_bytes")} for record in records]
    assert timeless == [
        {k: v for k, v in record.items() if k not in ("seconds", "peak_memory_bytes")}
        for record in log(tmp_path / "run")
    ]


def _weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    from lisa_core.checkpoint import find_checkpoint, read_weights

    return read_weights(find_checkpoint(checkpoint))


def test_words_alone_and_late_fusion_do_not_go_together(sets: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="answers in words alone teach nothing to --fusion late"):
        Trainer(config(sets, tmp_path / "run", fusion="late"))


def test_a_dataset_that_is_not_there_is_named_before_anything_is_loaded(sets: Path, tmp_path: Path) -> None:
    wrong = config(sets, tmp_path / "run")
    wrong = TrainConfig(model=wrong.model, data=DataConfig(data=f"{sets / 'vqa'}||{sets / 'nowhere'}"), run=wrong.run)
    with pytest.raises(ConfigError, match="nowhere does not exist"):
        Trainer(wrong)


def train(sets: Path, out: Path, *args: str) -> list[dict[str, Any]]:
    """The log of a run by the command line, whose batches of one or two rows are often in words alone."""
    data = f"{sets / 'refer_seg'}||vqa={sets / 'vqa'}||{sets / 'x' / 'reason_seg'}"
    command = [
        *(sys.executable, "-m", "lisa_core", "train", "--vlm", "clip-llm", "--vlm-model-name", "tiny"),
        *("--data", data, "--sample-rates", "2,3,1", "--steps-per-epoch", "6", "--output-dir", str(out)),
        *("--num-epochs", "1", "--device", "cpu", "--sample-masks", "0", "--contrast-weight", "0"),
        *("--sentences-per-image", "1", *args),  # which the smaller of the batches can hold too
    ]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert process.returncode == 0, process.stderr[-3000:]
    return log(out)


@pytest.mark.slow
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_of_which_one_has_words_alone_equal_one(sets: Path, tmp_path: Path, parallel: str) -> None:
    alone = train(sets, tmp_path / "one", "--batch-size", "2")
    both = train(sets, tmp_path / "two", "--batch-size", "1", "--num-processes", "2", "--parallel", parallel)
    kinds = [set(step["datasets"]) for step in alone if step["kind"] == "step"]
    assert {"vqa"} in kinds and any(len(found) > 1 and "vqa" in found for found in kinds)
    for one, other in zip(alone, both, strict=True):
        if one["kind"] == "step":
            assert other["loss"] == pytest.approx(one["loss"], rel=2e-3)
            assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=2e-3)
            assert other["datasets"].keys() == one["datasets"].keys()
            for name, of in one["datasets"].items():
                assert other["datasets"][name] == pytest.approx(of, rel=2e-3, abs=1e-4)
        else:
            assert other["val"]["n"] == one["val"]["n"]
