"""Other loggers through accelerate: TensorBoard for real; services that need an account are not run here."""

from __future__ import annotations

import pytest

from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.tracking import check_trackers
from lisa_core.trainer import Trainer


def test_tensorboard_gets_curves_settings_and_masks(scenes, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    trainer = Trainer(
        TrainConfig(
            model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny"),
            data=DataConfig(data=str(scenes), batch_size=4, max_train_samples=8, max_val_samples=2),
            optim=OptimConfig(num_epochs=2),
            run=RunConfig(
                output_dir=str(tmp_path / "run"), device="cpu", track=("tensorboard",), track_project="rings"
            ),
        )
    )
    result = trainer.run()
    (folder,) = {
        path.parent for path in (tmp_path / "run").rglob("events.out.tfevents.*") if path.parent.name == "rings"
    }
    events = accumulator.EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    tags = events.Tags()
    assert {"train/loss", "train/grad_norm", "train/lr", "val/giou", "epoch/peak_memory_bytes"} <= set(tags["scalars"])
    assert [point.step for point in events.Scalars("train/loss")] == [1, 2, 3, 4]
    assert max(point.value for point in events.Scalars("val/giou")) == pytest.approx(result.giou, abs=1e-6)
    assert tags["images"] == ["val/masks"] and len(events.Images("val/masks")) == 2
    assert events.Images("val/masks")[0].encoded_image_string.startswith(b"\x89PNG")


def test_an_unknown_tracker_is_one_line():
    with pytest.raises(ConfigError, match=r"--track carrier-pigeon is not known: choose among .*tensorboard"):
        check_trackers(["carrier-pigeon"])


def test_a_tracker_whose_package_is_missing_names_it(monkeypatch):
    monkeypatch.setattr("accelerate.tracking.get_available_trackers", lambda: ["tensorboard"])
    with pytest.raises(ConfigError, match="--track wandb needs its package: run `pip install wandb`"):
        check_trackers(["tensorboard", "wandb"])
