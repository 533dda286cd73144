from __future__ import annotations

import pytest
import torch

from lisa_core.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from lisa_core.denormals import flushed_denormals
from lisa_core.engine import Engine
from lisa_core.trainer import Trainer

SMALLEST = torch.finfo(torch.float32).smallest_normal

needs_support = pytest.mark.skipif(
    not torch.set_flush_denormal(False), reason="this processor cannot take denormal numbers for 0"
)


def are_flushed() -> bool:
    return (torch.tensor(SMALLEST) * 0.5).item() == 0


@needs_support
def test_they_are_taken_for_0_meanwhile_and_on_cpus_alone() -> None:
    assert not are_flushed()
    with flushed_denormals(torch.device("cuda")):
        assert not are_flushed()
    with pytest.raises(ZeroDivisionError), flushed_denormals(torch.device("cpu")):
        with flushed_denormals(torch.device("cpu")):
            assert are_flushed()
        assert are_flushed(), "whoever asked first decides when it ends"
        raise ZeroDivisionError
    assert not are_flushed()


@needs_support
def test_a_run_takes_them_for_0_and_leaves_the_thread_as_it_was(scenes, tmp_path, monkeypatch) -> None:
    seen = []
    step = Engine.step
    monkeypatch.setattr(Engine, "step", lambda *args: seen.append(are_flushed()) or step(*args))
    config = TrainConfig(
        model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny"),
        data=DataConfig(data=str(scenes), max_train_samples=2, max_val_samples=1, num_workers=0),
        run=RunConfig(output_dir=str(tmp_path / "run"), device="cpu", sample_masks=0),
    )
    trainer = Trainer(config)
    assert not are_flushed()
    trainer.run()
    assert seen and all(seen) and not are_flushed()
