from __future__ import annotations

import contextlib
import dataclasses
import re

import pytest
import torch

from lisa_core import out_of_memory as module
from lisa_core.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from lisa_core.engine import Engine
from lisa_core.errors import ConfigError
from lisa_core.estimate import estimate
from lisa_core.out_of_memory import out_of_memory_advice
from lisa_core.savings import savings
from lisa_core.trainer import Trainer

CONFIG = TrainConfig(model=ModelConfig(vlm="smolvlm", vlm_model_name="tiny"), data=DataConfig(batch_size=4))


@pytest.mark.slow
def test_the_flags_come_with_what_they_save_the_most_first():
    said = out_of_memory_advice(CONFIG, torch.device("cuda"))
    needed = estimate(CONFIG).total
    assert said.startswith(f"the GPU is out of memory: this run needs about {needed / 1e6:.0f} MB as it is; ")
    found = re.findall(r"(--[^(]+) \(about (\d+) MB less\)", said)
    gains = {}
    for saving in savings(CONFIG):
        with contextlib.suppress(ConfigError):  # what the family cannot do
            gains[saving.flags] = round((needed - estimate(saving.config).total) / 1e6)
    assert len(found) >= 4
    assert [int(gain) for _, gain in found] == sorted((int(gain) for _, gain in found), reverse=True)
    assert all(gains[flags.removeprefix("what would save most: ").strip(", ")] == int(gain) for flags, gain in found)
    assert "\n" not in said


def test_without_an_estimate_the_flags_are_named_still(monkeypatch):
    def fail(config):
        raise ConfigError("no")

    monkeypatch.setattr(module, "estimate", fail)
    said = out_of_memory_advice(CONFIG, torch.device("cpu"))
    assert said.startswith("the machine is out of memory; what would save some: --vlm-use-mixed-precision")
    assert "--gradient-checkpointing" in said


def test_half_an_estimate_is_none(monkeypatch):
    """The estimate itself can run out of memory."""
    known = estimate(CONFIG)
    monkeypatch.setattr(module, "estimate", lambda config: dataclasses.replace(known, is_complete=False))
    assert "this run needs" not in out_of_memory_advice(CONFIG, torch.device("cpu"))


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), marks=pytest.mark.slow),
        pytest.param(MemoryError(), marks=pytest.mark.slow),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried to ..."),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_run_that_runs_out_of_memory_says_so_in_one_line(scenes, tmp_path, monkeypatch, error):
    def step(self, window):
        raise error

    monkeypatch.setattr(Engine, "step", step)
    monkeypatch.setattr(module, "savings", lambda config: savings(config)[:1])  # each one costs a second
    run = RunConfig(output_dir=str(tmp_path / "run"), device="cpu")
    trainer = Trainer(TrainConfig(model=CONFIG.model, data=DataConfig(data=str(scenes), batch_size=2), run=run))
    with pytest.raises(ConfigError, match=r"the machine is out of memory: this run needs about \d+ MB as it is"):
        trainer.run()


def test_another_error_stays_one(scenes, tmp_path, monkeypatch):
    def step(self, window):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(Engine, "step", step)
    run = RunConfig(output_dir=str(tmp_path / "run"), device="cpu")
    trainer = Trainer(TrainConfig(model=CONFIG.model, data=DataConfig(data=str(scenes), batch_size=2), run=run))
    with pytest.raises(RuntimeError, match="shapes do not match"):
        trainer.run()
