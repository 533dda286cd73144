"""Every family in every mode and precision: a few real steps move exactly what is meant to move."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SpeedConfig, TrainConfig, TuningConfig
from lisa_core.errors import ConfigError
from lisa_core.registry import get_registry
from lisa_core.trainer import Trainer

FAMILIES = ["clip-llm", "llava", "paligemma", "qwenvl", "smolvlm"]
MODES = {
    "frozen": {"vlm_freeze": True},
    "lora": {"vlm_use_lora": True},
    "full": {},
    "qlora 4bit": {"vlm_use_lora": True, "vlm_use_quantization": True, "vlm_quantization": "4bit"},
    "qlora 8bit": {"vlm_use_lora": True, "vlm_use_quantization": True, "vlm_quantization": "8bit"},
}


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """Small checkpoints of the families' real classes, as local folders."""
    folders: dict[str, str] = {}

    def name_of(family: str) -> str:
        if family not in folders:
            torch.manual_seed(0)
            vlm = get_registry().load_vlm_class(family).tiny()
            folders[family] = vlm.save_pretrained(tmp_path_factory.mktemp(family))
        return folders[family]

    return name_of


def trainer_of(scenes: Path, out: Path, family: str, name: str, tuning: dict, **speed) -> Trainer:
    return Trainer(
        TrainConfig(
            model=ModelConfig(vlm=family, vlm_model_name=name, sam="tiny"),
            tuning=TuningConfig(**tuning),
            data=DataConfig(data=str(scenes), batch_size=3, max_train_samples=9, max_val_samples=2),
            optim=OptimConfig(num_epochs=1, learning_rate=1e-3, warmup_ratio=0.0, lr_schedule="constant_with_warmup"),
            speed=SpeedConfig(**speed),
            run=RunConfig(output_dir=str(out), device="cpu", sample_masks=0),
        )
    )


def meant(name: str, family: str, mode: str) -> bool:
    """Whether a parameter of this name is to train, told from names alone."""
    if not name.startswith("vlm."):
        # Points are not asked for, and of SAM's four masks only the first is read.
        unused = ("point_embeddings", "not_a_point", *(f"output_hypernetworks_mlps.{number}." for number in (1, 2, 3)))
        return not any(part in name for part in unused)
    if family == "clip-llm" and name.startswith("vlm.projector."):
        return True
    return mode == "full" or (mode != "frozen" and ("lora_" in name or "trainable_tokens_delta" in name))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_exactly_what_is_meant_to_moves(scenes, tmp_path, saved, family, mode, precision):
    trainer = trainer_of(scenes, tmp_path / "run", family, saved(family), MODES[mode], vlm_mixed_precision=precision)
    before = {
        name: value.detach().clone() for name, value in trainer.model.state_dict().items() if torch.is_tensor(value)
    }
    result = trainer.run()
    assert 0 <= result.giou <= 1
    records = trainer.engine.optimizer.state
    parameters = dict(trainer.model.named_parameters(remove_duplicate=False))  # tied heads have a name of their own
    after = trainer.model.state_dict()
    for name, value in before.items():
        moved = not torch.equal(after[name], value)
        intended = name in parameters and meant(name, family, mode)
        assert intended or not moved, f"{name} moved"
        if intended:
            parameter = parameters[name]
            assert parameter.requires_grad and parameter.dtype == torch.float32
            # What no gradient reaches (layers behind the features that are read, tables not asked for) stays.
            reached = parameter in records and bool(records[parameter]["exp_avg"].any())
            assert moved or not reached, f"{name} did not move"
    adapters = [name for name in parameters if "lora_B" in name]
    assert bool(adapters) == ("lora" in mode)
    assert all(not torch.equal(after[name], before[name]) for name in adapters)
    half = {value.dtype for name, value in parameters.items() if name.startswith("vlm.") and not value.requires_grad}
    if precision == "bf16" and mode in ("frozen", "lora"):
        assert half == {torch.bfloat16}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", ["4bit", "8bit"])
def test_quantized_weights_that_would_train_themselves_are_refused(scenes, tmp_path, family, kind):
    with pytest.raises(ConfigError, match=f"{kind} weights cannot be trained themselves: add --vlm-use-lora"):
        trainer_of(scenes, tmp_path / "run", family, "tiny", {"vlm_quantization": kind})


def test_the_tiny_model_is_not_quantized(scenes, tmp_path):
    with pytest.raises(ConfigError, match="tiny is not loaded from anywhere, so not in 4bit"):
        trainer_of(scenes, tmp_path / "run", "smolvlm", "tiny", MODES["qlora 4bit"])


PARTS = {
    "vision lora": {"tune_vision": "lora", "tune_language": "freeze"},
    "both lora": {"use_lora": True},
    "vision alone": {"tune_vision": "train", "tune_language": "freeze"},
    "language alone": {"tune_vision": "freeze", "tune_language": "train"},
    "lora beside a trained tower": {"tune_vision": "train", "tune_language": "lora"},
    "dora": {"vlm_use_lora": True, "lora_dora": True},
    "rslora on all": {"vlm_use_lora": True, "lora_rslora": True, "lora_targets": ("all-linear",)},
}


QUICK_PARTS = {
    "clip-llm": ("both lora", "vision alone"),
    "smolvlm": ("lora beside a trained tower", "dora", "rslora on all"),
}
"""Those of `PARTS` that are quick tests for a family; the others take steps that these take, too, and are slow."""


@pytest.mark.parametrize(
    ("family", "parts"),
    [
        pytest.param(family, parts, marks=() if parts in quick else pytest.mark.slow)
        for family, quick in QUICK_PARTS.items()
        for parts in PARTS
    ],
)
def test_each_half_can_be_tuned_by_itself(scenes, tmp_path, family, parts):
    trainer = trainer_of(scenes, tmp_path / "run", family, "tiny", PARTS[parts], vlm_mixed_precision="bf16")
    tuning, vlm = trainer.config.tuning, trainer.model.vlm
    for part, mode in ((vlm.vision_tower, tuning.vision), (vlm.language_model, tuning.language)):
        named = dict(part.named_parameters())
        adapters = {name for name in named if "lora_" in name}
        trained = {name for name, parameter in named.items() if parameter.requires_grad}
        assert bool(adapters) == (mode == "lora")
        if mode == "train":
            assert trained == set(named)
        elif mode == "freeze":
            assert not trained
        else:
            assert adapters <= trained
            assert all("token_adapter" in name or "lora_" in name for name in trained)
    trainer.run()


def test_sam_s_parts_and_the_connectors_can_be_frozen_or_adapted(scenes, tmp_path):
    first = tmp_path / "first"
    config = trainer_of(scenes, first, "clip-llm", "tiny", {"vlm_freeze": True}).config
    Trainer(config).run()
    tuning = {"vlm_freeze": True, "tune_connectors": "lora", "tune_sam_decoder": "lora"}
    run = RunConfig(output_dir=str(tmp_path / "second"), device="cpu", sample_masks=0, init_from=str(first))
    changed = TrainConfig(**{**vars(config), "tuning": TuningConfig(**tuning), "run": run})
    with pytest.raises(Exception, match="tensors that this run would not keep"):
        Trainer(changed)  # under adapters the weights have other names: their base is not the run's own
    frozen = TuningConfig(vlm_freeze=True, tune_connectors="freeze")
    trainer = Trainer(TrainConfig(**{**vars(config), "tuning": frozen, "run": run}))
    before = {name: value.clone() for name, value in trainer.model.text_sam.state_dict().items()}
    trainer.run()
    assert all(torch.equal(before[name], value) for name, value in trainer.model.text_sam.state_dict().items())
