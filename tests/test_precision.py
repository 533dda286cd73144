"""Half precision: what is kept in which type, and the scaler that fp16 needs (on the CPU; CUDA's has not been run)."""

from __future__ import annotations

import math

import pytest
import torch

from lisa_core.config import (
    DataConfig,
    LossConfig,
    ModelConfig,
    OptimConfig,
    RunConfig,
    SpeedConfig,
    TrainConfig,
    TuningConfig,
)
from lisa_core.engine import Engine, MicroBatch
from lisa_core.precision import grad_scaler
from lisa_core.trainer import Trainer

CPU = torch.device("cpu")


def trainer_of(scenes, out, precision: str, tuning: dict, **model) -> Trainer:
    return Trainer(
        TrainConfig(
            model=ModelConfig(vlm="smolvlm", vlm_model_name="tiny", **model),
            tuning=TuningConfig(**tuning),
            data=DataConfig(data=str(scenes), batch_size=4, max_train_samples=4, max_val_samples=1),
            optim=OptimConfig(learning_rate=1e-3, warmup_ratio=0.0, num_epochs=1, max_grad_norm=0.0),
            loss=LossConfig(),
            speed=SpeedConfig(vlm_mixed_precision=precision),
            run=RunConfig(output_dir=str(out), device="cpu", sample_masks=0),
        )
    )


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
@pytest.mark.parametrize(
    "tuning", [{"vlm_use_lora": True, "vlm_lora_dropout": 0.0}, {"vlm_freeze": True}, {"use_lora": True}], ids=str
)
def test_what_is_frozen_is_half_and_what_trains_is_whole(scenes, tmp_path, precision, tuning):
    model = trainer_of(scenes, tmp_path / "run", precision, tuning, mask_features="sam").model
    half = {"fp16": torch.float16, "bf16": torch.bfloat16}[precision]
    for name, parameter in model.named_parameters():
        frozen_reader = name.startswith("vlm.") and not parameter.requires_grad
        assert parameter.dtype == (half if frozen_reader else torch.float32), name
    assert any(parameter.requires_grad for parameter in model.parameters())


def test_a_vlm_that_trains_itself_is_whole(scenes, tmp_path):
    model = trainer_of(scenes, tmp_path / "run", "bf16", {}).model
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def first_update(trainer: Trainer):
    """Step over the first four samples until their scaled gradients fit into fp16, as the scaler does it by itself.

    Returns the engine, the step, its gradients before and after unscaling, and the scale it was made with.
    """
    torch.manual_seed(0)
    engine = Engine(trainer.model.train(), trainer.config, trainer.processes, total_steps=10)
    gradients: list[dict[str, torch.Tensor]] = []
    unscale = engine.scaler.unscale_

    def note(optimizer):
        named = {name: p for name, p in trainer.model.named_parameters() if p.grad is not None}
        gradients[:] = [{name: p.grad.clone() for name, p in named.items()}]
        unscale(optimizer)
        gradients.append({name: p.grad.clone() for name, p in named.items()})

    engine.scaler.unscale_ = note  # type: ignore[method-assign]
    batch = trainer.collator([trainer.train_data.load(index) for index in range(4)])
    for _ in range(8):
        scale = engine.scaler.get_scale()
        step = engine.step([MicroBatch(batch)])
        if math.isfinite(step.record["grad_norm"]):
            return engine, step, *gradients, scale
        assert engine.scaler.get_scale() == scale / 2
    raise AssertionError("no scale was low enough")


def test_fp16_with_lora_trains_and_its_gradients_are_those_of_float32(scenes, tmp_path):
    tuning = {"vlm_use_lora": True, "vlm_lora_dropout": 0.0}
    _, whole, _, exact, _ = first_update(trainer_of(scenes, tmp_path / "a", "no", tuning))
    trainer = trainer_of(scenes, tmp_path / "b", "fp16", tuning)
    before = {name: value.clone() for name, value in trainer.model.named_parameters() if value.requires_grad}
    engine, step, scaled, found, scale = first_update(trainer)
    assert engine.scaler.is_enabled() and scale >= 2.0**10
    assert step.finite and step.record["loss"] == pytest.approx(whole.record["loss"], rel=1e-2)
    for name, gradient in scaled.items():
        torch.testing.assert_close(found[name], gradient / scale)
    for part in ("lora_B", "text_sam", "decoder"):
        names = [name for name in found if part in name and exact[name].norm() > 1e-4]
        assert names
        for name in names:
            error = (found[name] - exact[name]).norm() / exact[name].norm()
            assert error < 0.1, (name, float(error))
    now = dict(trainer.model.named_parameters())
    moved = [name for name, value in before.items() if not torch.equal(now[name], value)]
    assert any("lora_B" in name for name in moved)


def test_a_gradient_beyond_fp16_leaves_the_step_out_and_scales_less(scenes, tmp_path):
    trainer = trainer_of(scenes, tmp_path / "run", "fp16", {"vlm_use_lora": True})
    parameter = next(value for name, value in trainer.model.named_parameters() if "lora_B" in name)
    parameter.register_hook(lambda gradient: gradient + float("inf"))
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    engine = Engine(trainer.model.train(), trainer.config, trainer.processes, total_steps=10)
    step = engine.step([MicroBatch(trainer.collator([trainer.train_data.load(0)]))])
    assert step.finite and not math.isfinite(step.record["grad_norm"])  # the scaler's business, no fault of the run
    assert engine.scaler.get_scale() == 2.0**15
    assert all(torch.equal(before[name], value) for name, value in trainer.model.state_dict().items())
    assert engine.schedule.last_epoch == 0


def test_without_fp16_the_scaler_does_nothing():
    for precision in ("no", "bf16"):
        assert not grad_scaler(precision, CPU).is_enabled()
    assert grad_scaler("fp16", CPU).is_enabled()
