"""Two real processes on this machine's CPU (gloo) against one: the same losses, the same metrics, the same weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

pytestmark = pytest.mark.slow

BASE = (
    *("--vlm", "clip-llm", "--vlm-model-name", "tiny", "--num-epochs", "2", "--device", "cpu", "--sample-masks", "0"),
    *("--sentences-per-image", "2", "--max-train-samples", "19", "--max-val-samples", "7", "--num-workers", "0"),
    # Sentences of a picture are contrasted within a micro-batch, so that term depends on how batches are cut.
    *("--contrast-weight", "0"),
)


def train(scenes: Path, out: Path, *args: str, code: int = 0) -> str:
    command = [
        sys.executable,
        "-m",
        "lisa_core",
        "train",
        "--data",
        str(scenes),
        "--output-dir",
        str(out),
        *BASE,
        *args,
    ]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ)
    assert process.returncode == code, process.stderr[-3000:]
    return process.stderr


def log(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def compare(one: Path, two: Path) -> None:
    """Same steps, losses and metrics, within what summing in another order changes."""
    assert len(log(one)) == len(log(two))
    for a, b in zip(log(one), log(two)):
        assert (a["kind"], a["step"], a.get("masks")) == (b["kind"], b["step"], b.get("masks"))
        if a["kind"] == "step":
            for name in ("loss", "ce", "bce", "dice", "similarity", "grad_norm"):
                assert b[name] == pytest.approx(a[name], rel=2e-3), (a["step"], name)
        elif "val" in a:
            assert b["val"]["n"] == a["val"]["n"] == 7
            assert b["val"]["listening_pairs"] == a["val"]["listening_pairs"]
            assert b["val"]["baselines"] == a["val"]["baselines"]  # counted exactly, whoever counts
    first, second = log(one)[0], log(two)[0]
    assert second["loss"] == pytest.approx(first["loss"], rel=1e-5)


@pytest.fixture(scope="module")
def alone(scenes, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("alone") / "run"
    train(scenes, out, "--batch-size", "8")
    return out


def test_ddp_equals_one_process_of_the_same_global_batch(scenes, tmp_path, alone):
    said = train(scenes, tmp_path / "run", "--batch-size", "4", "--num-processes", "2")
    assert said.count("✓ VLM loaded") == 1  # the main process speaks
    compare(alone, tmp_path / "run")
    about = json.loads((tmp_path / "run" / "config.json").read_text())["environment"]
    assert about["world_size"] == 2
    states = sorted(path.name for path in (tmp_path / "run" / "last" / "state").iterdir())
    assert states == ["rank_0.json", "rank_0.safetensors", "rank_1.json", "rank_1.safetensors"]


def test_ddp_leaves_the_decoder_out_as_one_process_does(scenes, tmp_path):
    options = ("--map-epochs", "1", "--standardize-text")
    train(scenes, tmp_path / "one", "--batch-size", "8", *options)
    train(scenes, tmp_path / "two", "--batch-size", "4", *options, "--num-processes", "2")
    compare(tmp_path / "one", tmp_path / "two")
    epochs = [record for record in log(tmp_path / "two") if record["kind"] == "epoch"]
    assert ["val" in record for record in epochs] == [False, True]
    first, second = (load_file(tmp_path / run / "last" / "model.safetensors") for run in ("one", "two"))
    for name in ("mean", "variance", "heard"):  # stand-ins, which one process does not need, are not heard
        name = f"standardization.{name}"
        torch.testing.assert_close(second[name], first[name], rtol=1e-3, atol=1e-3)


def test_accumulation_on_two_processes_equals_it_too(scenes, tmp_path, alone):
    train(
        *(scenes, tmp_path / "run", "--batch-size", "2", "--gradient-accumulation-steps", "2"),
        *("--num_processes", "2"),
    )
    compare(alone, tmp_path / "run")


def test_shared_out_weights_equal_whole_ones_and_go_on(scenes, tmp_path, alone):
    """torch's own fully_shard, which accelerate replaces by DDP on CPUs."""
    out = tmp_path / "run"
    args = ("--batch-size", "4", "--num-processes", "2", "--parallel", "fsdp")
    train(scenes, out, *args)
    compare(alone, out)
    whole, shared = (load_file(run / "last" / "model.safetensors") for run in (alone, out))
    assert whole.keys() == shared.keys()
    assert all(whole[name].shape == shared[name].shape for name in whole)
    # The last epoch once more, from the checkpoint after the first one.
    lines = (out / "metrics.jsonl").read_text()
    again = tmp_path / "again"
    train(scenes, again, *args, "--keep-last", "9")
    first = sorted((again / "checkpoints").iterdir())[0]
    train(scenes, again, *args, "--keep-last", "9", "--resume", str(first))
    steps = [record for record in log(again) if record["kind"] == "step"]
    assert [record["loss"] for record in steps] == pytest.approx(
        [json.loads(line)["loss"] for line in lines.splitlines() if '"kind": "step"' in line], rel=1e-3
    )


def test_fewer_processes_than_asked_for_are_told(scenes, tmp_path):
    command = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--cpu",
        "--num_processes",
        "2",
        "-m",
        "lisa_core.train",
    ]
    process = subprocess.run(
        [*command, "--data", str(scenes), "--output-dir", str(tmp_path / "run"), *BASE, "--batch-size", "8"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-2000:]
    assert "accelerate was asked for 2 processes and started 1" in process.stderr


def test_a_run_on_other_processes_does_not_go_on(scenes, tmp_path):
    out = tmp_path / "run"
    train(scenes, out, "--batch-size", "8", "--num-epochs", "1")
    said = train(
        *(scenes, out, "--batch-size", "8", "--num-epochs", "1", "--num-processes", "2", "--resume", "auto"), code=2
    )
    assert "processes were 1, now 2" in said
