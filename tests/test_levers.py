"""Memory against time: what is there gives the same numbers, what is not there is refused."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, SpeedConfig, TrainConfig, TuningConfig
from lisa_core.errors import ConfigError
from lisa_core.levers import apply_levers, offload, transformers_models
from lisa_core.optim import build_optimizer
from lisa_core.registry import get_registry
from lisa_core.trainer import Trainer

CPU = torch.device("cpu")
FAMILIES = ["clip-llm", "llava", "paligemma", "qwenvl", "smolvlm"]


def tiny(family):
    torch.manual_seed(0)
    return get_registry().load_vlm_class(family).tiny()


def states_and_gradients(vlm):
    vlm.train().zero_grad()
    batch = vlm.preprocess([Image.new("RGB", (40, 30), "red")], ["Segment it."], ["It is [SEG]."])
    hidden = vlm(batch).hidden
    hidden.square().mean().backward()
    return hidden.detach(), {name: p.grad.clone() for name, p in vlm.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_gives_the_same_gradients(family):
    vlm = tiny(family)
    hidden, gradients = states_and_gradients(vlm)
    apply_levers(vlm, SpeedConfig(gradient_checkpointing=True), CPU)
    assert all(model.is_gradient_checkpointing for model in transformers_models(vlm))
    again, found = states_and_gradients(vlm)
    torch.testing.assert_close(again, hidden)
    assert found.keys() == gradients.keys()
    for name in found:
        torch.testing.assert_close(found[name], gradients[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_eager_attention_gives_the_same_states(family):
    vlm = tiny(family)
    hidden, _ = states_and_gradients(vlm)
    apply_levers(vlm, SpeedConfig(attn="eager"), CPU)
    torch.testing.assert_close(states_and_gradients(vlm)[0], hidden, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("speed", "said"),
    [
        ({"attn": "flash_attention_2"}, "needs a CUDA GPU and `pip install flash-attn`"),
        ({"attn": "flex"}, "no backward pass: use --attn sdpa"),
    ],
)
def test_attention_that_is_not_there_is_refused(speed, said):
    with pytest.raises(ConfigError, match=said):
        apply_levers(tiny("smolvlm"), SpeedConfig(**speed), CPU)


@pytest.mark.parametrize("kind", ["adamw_8bit", "paged_adamw", "paged_adamw_8bit"])
def test_bitsandbytes_optimizers_need_cuda(kind):
    with pytest.raises(ConfigError, match=f"--optimizer {kind} is bitsandbytes' and runs on CUDA only"):
        build_optimizer(torch.nn.Linear(2, 2), 1e-3, 0.0, kind, CPU)


def test_what_is_offloaded_gives_the_same_states():
    vlm = tiny("smolvlm").eval().requires_grad_(False)
    batch = vlm.preprocess([Image.new("RGB", (40, 30), "red")], ["Segment it."], ["It is [SEG]."])
    expected = vlm(batch).hidden
    parts = offload(vlm, CPU)
    assert parts == [vlm.vision_tower, vlm.language_model]
    assert all(parameter.is_meta for parameter in vlm.vision_tower.parameters())  # between the passes
    torch.testing.assert_close(vlm(batch).hidden, expected)


def test_what_trains_is_not_offloaded():
    with pytest.raises(ConfigError, match="--cpu-offload moves only what is frozen"):
        offload(tiny("smolvlm"), CPU)


def test_a_run_with_levers_and_a_worker(scenes, tmp_path):
    name = tiny("smolvlm").save_pretrained(tmp_path / "saved")
    config = TrainConfig(
        model=ModelConfig(vlm="smolvlm", vlm_model_name=name, sam="tiny"),
        tuning=TuningConfig(vlm_freeze=True),
        data=DataConfig(data=str(scenes), max_train_samples=8, max_val_samples=2, num_workers=1, bucket="size"),
        optim=OptimConfig(num_epochs=1),
        speed=SpeedConfig(cpu_offload=True, attn="eager"),
        run=RunConfig(output_dir=str(tmp_path / "run"), device="cpu"),
    )
    assert Trainer(config).run().metrics.n == 2
    with pytest.raises(ConfigError, match="not for --vlm-model-name tiny"):
        TrainConfig(**{**vars(config), "model": ModelConfig(vlm="smolvlm", vlm_model_name="tiny")}).validate()
