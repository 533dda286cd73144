"""Run folders without the training: weights are moved by noise and statistics drawn, which nothing else gives back."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import torch

from lisa_core.build import build_model, resolve_sources
from lisa_core.checkpoint import save_checkpoint
from lisa_core.config import DataConfig, TrainConfig
from lisa_core.model import LisaModel
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.provenance import environment
from lisa_core.registry import get_registry
from lisa_core.tuning import apply_tuning

VAL = {
    "giou": 0.4123,
    "ciou": 0.3987,
    "precision": {"0.5": 0.25, "0.7": 0.0, "0.9": 0.0},
    "n": 40,
    "listening": 0.75,
    "listening_pairs": 60,
    "blank_giou": None,
    "baselines": {"centre_blob": 0.1, "largest_object": 0.3},
    "skipped": 0,
}
TEST = {**VAL, "giou": 0.3911, "ciou": 0.3702, "n": 50, "listening": 0.7, "blank_giou": 0.15}


def make_run(
    folder: Path, config: ModelConfig, tuning: TuningConfig = TuningConfig(), noise: float = 0.05, seed: int = 0
) -> LisaModel:
    """Make `folder` a run of two epochs whose second checkpoint is the best; returns its model, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = resolve_sources(config)
        model = build_model(config, None, tuning.quantization)
        apply_tuning(model, tuning)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.add_(noise * torch.randn_like(parameter))
        if model.standardization is not None:
            model.standardization.mean.normal_()
            model.standardization.variance.uniform_(0.5, 2.0)
            model.standardization.heard.fill_(1000)
    checkpoint = folder / "checkpoints" / "step-00000020"
    save_checkpoint(checkpoint, model, {"epoch": 2, "step": 20, "val": VAL})
    (checkpoint / "state").mkdir()
    (checkpoint / "state" / "rank_0.json").write_text("{}")
    for name in ("best", "last"):
        (folder / name).symlink_to(Path("checkpoints") / checkpoint.name, target_is_directory=True)
    settings = TrainConfig(model=config, tuning=tuning, data=DataConfig(data="/home/somebody/secret/my_scenes"))
    record = get_registry().vlms[config.vlm].record
    resolved = {**dataclasses.asdict(settings), "environment": environment(record.distribution, 1)}
    (folder / "config.json").write_text(json.dumps(resolved))
    lines = [
        {"kind": "step", "step": 1, "epoch": 1, "loss": 3.0, "masks": 8.0},
        {"kind": "step", "step": 10, "epoch": 1, "loss": 2.0, "masks": 4.0},
        {"kind": "epoch", "epoch": 1, "step": 10, "train_loss": 2.5, "val": {**VAL, "giou": 0.3}},
        {"kind": "step", "step": 20, "epoch": 2, "loss": 1.0, "masks": 12.0},
        {"kind": "epoch", "epoch": 2, "step": 20, "train_loss": 1.25, "val": VAL},
        {"kind": "test", "step": 20, **TEST},
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return model.eval()
