from __future__ import annotations

import pytest
import torch

from lisa_core.config import DataConfig, ModelConfig, RunConfig, TrainConfig
from lisa_core.trainer import Trainer

SMALLEST = torch.finfo(torch.float32).smallest_normal


def half_of_the_smallest() -> float:
    return (torch.tensor(SMALLEST) * 0.5).item()


@pytest.mark.skipif(not torch.set_flush_denormal(False), reason="this processor cannot take denormal numbers for 0")
def test_a_trainer_takes_denormal_numbers_for_0(scenes, tmp_path) -> None:
    torch.set_flush_denormal(False)  # whatever ran before in this process
    assert half_of_the_smallest() > 0
    model = ModelConfig(vlm="clip-llm", vlm_model_name="tiny")
    run = RunConfig(output_dir=str(tmp_path / "run"), device="cpu")
    try:
        Trainer(TrainConfig(model=model, data=DataConfig(data=str(scenes)), run=run))
        assert half_of_the_smallest() == 0
    finally:
        torch.set_flush_denormal(False)
