"""DeepSpeed's ZeRO on two processes of this machine's CPU (gloo) against one process without it.

DeepSpeed is not among the development tools, as accelerate imports it wherever it finds it: without it, only what is
refused is tested. To run the rest, install `lisa-core[deepspeed]` and pytest into another environment.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file

from lisa_core import processes
from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SpeedConfig, TrainConfig, TuningConfig
from lisa_core.deepspeed_settings import check_deepspeed, settle
from lisa_core.errors import ConfigError
from lisa_core.processes import Processes

location = importlib.util.spec_from_file_location("distributed", Path(__file__).with_name("test_distributed.py"))
assert location is not None and location.loader is not None
distributed = importlib.util.module_from_spec(location)
location.loader.exec_module(distributed)
BASE, train, log, compare = distributed.BASE, distributed.train, distributed.log, distributed.compare
alone = distributed.alone  # its fixture: a run on one process

PLAIN = TrainConfig(model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny"))
ZERO = ("--num-processes", "2", "--parallel", "deepspeed")


def needs_deepspeed(test):
    reason = "DeepSpeed is not installed here: pip install lisa-core[deepspeed]"
    return pytest.mark.slow(pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason=reason)(test))


def launched(stage: int, **told) -> SimpleNamespace:
    """Processes that were launched for DeepSpeed."""
    zero = {"stage": stage, **told.pop("zero", {})}
    accelerator = SimpleNamespace(gradient_accumulation_steps=4)
    told = {"zero_optimization": zero, **told}
    return SimpleNamespace(zero_stage=stage, deepspeed_config=told, accelerator=accelerator, world_size=2)


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_each_stage_is_accepted(stage):
    config = replace(PLAIN, run=RunConfig(parallel="deepspeed"))
    told = {"fp16": {"enabled": False}, "bf16": {"enabled": "auto"}, "zero": {"offload_optimizer": {"device": "cpu"}}}
    check_deepspeed(config, launched(stage, **told))


@pytest.mark.parametrize(
    ("stage", "told", "changes", "said"),
    [
        (0, {}, {}, "stage is 0: use 1, 2 or 3"),
        (2, {}, {"run": RunConfig(parallel="fsdp")}, "--parallel fsdp, but launched with DeepSpeed"),
        (2, {}, {"run": RunConfig(parallel="ddp")}, "--parallel ddp, but launched with DeepSpeed"),
        (2, {}, {"speed": SpeedConfig(cpu_offload=True)}, "--cpu-offload does not work with DeepSpeed"),
        (2, {}, {"optim": OptimConfig(decoder_optimizer="muon")}, "--decoder-optimizer muon does not work"),
        (
            2,
            {},
            {"optim": OptimConfig(optimizer="paged_adamw")},
            "paged_adamw does not work with DeepSpeed",
        ),
        (3, {}, {"tuning": TuningConfig(vlm_quantization="4bit", vlm_use_quantization=True)}, "share out 4bit weights"),
        (3, {}, {"speed": SpeedConfig(compile=True)}, "--compile does not work with DeepSpeed's ZeRO stage 3"),
        (2, {"optimizer": {"type": "AdamW"}}, {}, "names its own optimizer: take that out"),
        (2, {"scheduler": {"type": "WarmupLR"}}, {}, "names its own scheduler: take that out"),
        (2, {"bf16": {"enabled": True}}, {}, "enables bf16: take that out, --vlm-mixed-precision says it"),
        (
            2,
            {"zero": {"offload_optimizer": {"device": "nvme"}}},
            {},
            "offload_optimizer puts on nvme",
        ),
        (3, {"zero": {"offload_param": {"device": "nvme"}}}, {}, "offload_param puts on nvme what is to be saved"),
    ],
)
def test_what_does_not_work_with_it_is_refused_in_a_line(stage, told, changes, said):
    with pytest.raises(ConfigError, match=said) as caught:
        check_deepspeed(replace(PLAIN, **changes), launched(stage, **told))
    assert "\n" not in str(caught.value)


def test_settings_of_the_run_decide_whatever_its_config_says():
    asked = {"train_batch_size": 64, "gradient_accumulation_steps": 4, "gradient_clipping": 5.0}
    zero = {"reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto", "overlap_comm": True}
    processes = launched(2, zero=zero, **asked)
    settle(replace(PLAIN, data=DataConfig(batch_size=3), optim=OptimConfig(max_grad_norm=0.5)), processes, trained=70)
    told = processes.deepspeed_config
    assert (told["train_micro_batch_size_per_gpu"], told["train_batch_size"]) == (3, 6)
    assert (told["gradient_accumulation_steps"], told["gradient_clipping"]) == (1, 0.5)
    assert told["zero_optimization"] == {"stage": 2, "overlap_comm": True, "reduce_bucket_size": 70}
    assert processes.accelerator.gradient_accumulation_steps == 1


@pytest.fixture
def fresh_environment(monkeypatch):
    for name in ("LOCAL_RANK", "ACCELERATE_USE_CPU", "ACCELERATE_USE_DEEPSPEED", "ACCELERATE_DEEPSPEED_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(processes, "is_deepspeed_available", lambda: True)
    return monkeypatch


def test_a_deepspeed_that_is_missing_is_named_with_its_pip_line(fresh_environment):
    fresh_environment.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    fresh_environment.setattr(processes, "is_deepspeed_available", lambda: False)
    with pytest.raises(ConfigError, match=r"not installed: run `pip install lisa-core\[deepspeed\]`"):
        Processes("cpu")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "DeepSpeed needs a launcher"),
        ({"LOCAL_RANK": "0", "ACCELERATE_USE_CPU": "true"}, "ACCELERATE_USE_CPU makes accelerate leave DeepSpeed out"),
        (
            {"LOCAL_RANK": "0", "ACCELERATE_DEEPSPEED_CONFIG_FILE": "nowhere.json"},
            "cannot be used .*nowhere.json",
        ),
        ({"LOCAL_RANK": "0", "ACCELERATE_DEEPSPEED_CONFIG_FILE": "{}"}, "config cannot be used .*ZeRO"),
        ({"LOCAL_RANK": "0", "ACCELERATE_DEEPSPEED_CONFIG_FILE": "[1]"}, "config cannot be used"),
    ],
)
def test_a_launch_that_cannot_become_one_for_deepspeed_is_refused(fresh_environment, variables, said):
    for name, value in variables.items():
        fresh_environment.setenv(name, value)
    with pytest.raises(ConfigError, match=said):
        Processes("cpu", deepspeed=True)


def states(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "last" / "state").iterdir())


@needs_deepspeed
def test_accelerate_launch_with_stage_2_equals_one_process(scenes, tmp_path, alone):
    out = tmp_path / "run"
    command = [sys.executable, "-m", "accelerate.commands.launch", "--use_deepspeed", "--zero_stage", "2"]
    command += ["--num_processes", "2", "--main_process_port", "0", "-m", "lisa_core.train", "--data", str(scenes)]
    process = subprocess.run(
        [*command, "--output-dir", str(out), *BASE, "--batch-size", "4"], capture_output=True, text=True, timeout=300
    )
    assert process.returncode == 0, process.stderr[-3000:]
    compare(alone, out)
    about = json.loads((out / "config.json").read_text())["environment"]
    assert about["world_size"] == 2
    assert states(out) == ["rank_0.json", "rank_0.safetensors", "rank_1.json", "rank_1.safetensors"]
    # Each process keeps the moments of its half of the weights; alone, those that nothing uses have none.
    whole, *halves = (
        sum(value.numel() for name, value in load_file(path).items() if name.endswith("exp_avg"))
        for path in (alone / "last/state/rank_0.safetensors", *sorted((out / "last/state").glob("*.safetensors")))
    )
    assert halves[0] == halves[1] == pytest.approx(whole / 2, rel=1e-3)


@needs_deepspeed
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_accumulation_equals_one_process_and_a_stopped_run_goes_on(scenes, tmp_path, alone, monkeypatch, stage):
    config = {"zero_optimization": {"stage": stage}}
    if stage == 3:
        config["zero_optimization"]["stage3_param_persistence_threshold"] = 0  # share out the small weights too
    monkeypatch.setenv("ACCELERATE_DEEPSPEED_CONFIG_FILE", json.dumps(config))
    out, cut = tmp_path / "run", tmp_path / "cut"
    args = ("--batch-size", "2", "--gradient-accumulation-steps", "2", "--keep-last", "9")
    train(scenes, out, *args, *ZERO)
    compare(alone, out)
    first, second = (load_file(run / "last" / "model.safetensors") for run in (alone, out))
    assert first.keys() == second.keys()
    assert all(first[name].shape == second[name].shape for name in first)
    # As if killed in the second epoch: its step was logged, its checkpoint never written.
    shutil.copytree(out, cut, symlinks=True)
    shutil.rmtree(sorted((cut / "checkpoints").iterdir())[-1])
    said = train(scenes, cut, *args, "--num-processes", "2", "--resume", "auto", code=2)
    assert f"processes shared the work by zero{stage}, now ddp" in said
    train(scenes, cut, *args, *ZERO, "--resume", "auto")
    timed = ("seconds", "peak_memory_bytes")
    curves = [[{k: v for k, v in line.items() if k not in timed} for line in log(run)] for run in (out, cut)]
    assert curves[0] == curves[1]
    gone_on = load_file(cut / "last" / "model.safetensors")
    assert all(torch.equal(gone_on[name], value) for name, value in second.items())


@needs_deepspeed
def test_half_precision_has_the_losses_and_the_scale_it_has_without(scenes, tmp_path):
    args = ("--batch-size", "4", "--num-epochs", "4", "--vlm-mixed-precision", "fp16")
    args += ("--vlm-use-lora", "--vlm-lora-dropout", "0")
    train(scenes, tmp_path / "ddp", *args, "--num-processes", "2", "--parallel", "ddp")
    train(scenes, tmp_path / "zero", *args, *ZERO)
    losses, scales = [], []
    for run in (tmp_path / "ddp", tmp_path / "zero"):
        losses.append([record["loss"] for record in log(run) if record["kind"] == "step"])
        scales.append(json.loads((run / "last/state/rank_0.json").read_text())["facts"]["engine"]["scaler"])
    assert losses[1] == pytest.approx(losses[0], rel=2e-3)
    assert scales[1] == scales[0]
    assert scales[0]["scale"] < 65536  # some of its steps were left out, so that there was something to follow


LEFT_OUT = """
import math, sys, torch
from lisa_core import engine
from lisa_core.config import *
from lisa_core.losses import LossTerm
from lisa_core.trainer import Trainer

real, broken = engine.loss_terms, [False, True, False]

def loss_terms(output, batch):
    terms, iou = real(output, batch)
    if broken.pop(0):  # infinite, with a gradient that is not
        terms["bce"] = LossTerm(terms["bce"].total + math.inf, terms["bce"].count)
    return terms, iou

engine.loss_terms = loss_terms
trainer = Trainer(TrainConfig(
    model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny"),
    data=DataConfig(data=sys.argv[1], batch_size=4, max_train_samples=12, max_val_samples=2),
    optim=OptimConfig(num_epochs=1, gradient_accumulation_steps=1, on_nan="skip"),
    run=RunConfig(output_dir=sys.argv[2], parallel="deepspeed", device="cpu", sample_masks=0),
))
seen, count = [], trainer._count

def look(step, micros):
    seen.append((step.finite, torch.cat([p.detach().flatten().clone() for p in trainer.engine.parameters])))
    count(step, micros)

trainer._count = look
trainer.run()
(a, first), (b, second), (c, third) = seen
assert (a, b, c) == (True, False, True), (a, b, c)
assert torch.equal(first, second), "a step that was left out changed weights"
assert not torch.equal(second, third), "the step after it changed none"
"""


@needs_deepspeed
def test_a_loss_that_is_not_finite_changes_no_weight_though_its_gradient_is_finite(scenes, tmp_path):
    alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "0"}
    command = [sys.executable, "-c", LEFT_OUT, str(scenes), str(tmp_path / "run")]
    process = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **alone})
    assert process.returncode == 0, process.stderr[-3000:]
