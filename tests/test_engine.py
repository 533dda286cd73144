"""Losses and gradients that are not finite: the run stops, or leaves the step out, and names the samples."""

from __future__ import annotations

import json

import pytest
import torch

from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SpeedConfig, TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.trainer import _MOST_SKIPPED, Trainer


def trainer_of(scenes, out, on_nan: str, **optim) -> Trainer:
    return Trainer(
        TrainConfig(
            model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny"),
            data=DataConfig(data=str(scenes), batch_size=4, max_train_samples=12, max_val_samples=2),
            optim=OptimConfig(on_nan=on_nan, num_epochs=1, **optim),
            run=RunConfig(output_dir=str(out), device="cpu", sample_masks=0, save_every=1),
        )
    )


def poison(trainer: Trainer, steps: tuple[int, ...], gradient_only: bool = False) -> dict[int, dict]:
    """Let the loss (or only its gradient) be no number at these steps; returns the weights before each step."""
    weights: dict[int, dict] = {}
    forward, count = trainer.model.forward, [0]
    watched = trainer.model.similarity.query.weight if hasattr(trainer.model.similarity, "query") else None
    parameter = watched if watched is not None else next(trainer.model.similarity.parameters())
    parameter.register_hook(lambda grad: grad * float("nan") if gradient_only and count[0] in steps else grad)

    def spoiled(batch, *rest):
        output = forward(batch, *rest)
        if trainer.model.training:
            count[0] += 1
            weights[count[0]] = {name: value.clone() for name, value in trainer.model.state_dict().items()}
            if count[0] in steps and not gradient_only:
                output.mask_logits = output.mask_logits * float("nan")
        return output

    trainer.model.forward = spoiled
    return weights


def kinds(run) -> list[str]:
    return [json.loads(line)["kind"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("gradient_only", [False, True])
def test_a_step_that_is_left_out_changes_no_weight(scenes, tmp_path, gradient_only):
    trainer = trainer_of(scenes, tmp_path / "run", "skip")
    said: list[str] = []
    trainer.reporter.line = said.append  # type: ignore[method-assign]
    weights = poison(trainer, (2,), gradient_only)
    trainer.run()
    assert kinds(tmp_path / "run") == ["step", "skip", "step", "epoch"]
    assert all(torch.equal(weights[2][name], weights[3][name]) for name in weights[2])
    assert any(not torch.equal(weights[1][name], weights[2][name]) for name in weights[1])
    (line,) = [line for line in said if line.startswith("left out step 2")]
    assert line.count("#") == 4  # the batch's samples, by name


@pytest.mark.parametrize("gradient_only", [False, True])
def test_it_stops_by_default_with_what_was_saved_before(scenes, tmp_path, gradient_only):
    trainer = trainer_of(scenes, tmp_path / "run", "stop")
    poison(trainer, (3,), gradient_only)
    with pytest.raises(ConfigError, match=r"step 3: .*nan, at samples .*#.*: what was saved before is intact"):
        trainer.run()
    assert (tmp_path / "run" / "last").resolve().name == "step-00000002"


@pytest.mark.slow
def test_fp16_gradients_that_never_become_numbers_stop_the_run(scenes, tmp_path):
    """The scaler is there for overflows; below a scale of 1 it is the run that is at fault."""
    config = trainer_of(scenes, tmp_path / "a", "stop").config
    changes = {
        "speed": SpeedConfig(vlm_mixed_precision="fp16"),
        "optim": OptimConfig(num_epochs=20),
        "run": RunConfig(output_dir=str(tmp_path / "b"), device="cpu", sample_masks=0, eval_every=20),
    }
    trainer = Trainer(TrainConfig(**{**vars(config), **changes}))
    poison(trainer, tuple(range(1, 10**4)), gradient_only=True)
    with pytest.raises(ConfigError, match=r"step 18: .*nan, at samples .*#"):  # 2^16 halved 17 times
        trainer.run()


@pytest.mark.slow
def test_a_run_of_left_out_steps_stops_all_the_same(scenes, tmp_path):
    trainer = trainer_of(scenes, tmp_path / "run", "skip")
    config = trainer.config
    config = TrainConfig(**{**vars(config), "optim": OptimConfig(on_nan="skip", num_epochs=_MOST_SKIPPED)})
    run = RunConfig(output_dir=str(tmp_path / "b"), device="cpu", sample_masks=0, eval_every=_MOST_SKIPPED)
    trainer = Trainer(TrainConfig(**{**vars(config), "run": run}))
    poison(trainer, tuple(range(1, 10**4)))
    with pytest.raises(ConfigError, match=f"step {_MOST_SKIPPED + 1}: loss nan"):
        trainer.run()
