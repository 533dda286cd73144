from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from lisa_core.build import build_model
from lisa_core.config import ModelConfig, OptimConfig, TrainConfig, TuningConfig
from lisa_core.model import LisaModel
from lisa_core.optim import build_optimizer, build_schedule
from lisa_core.tuning import apply_tuning, trainable_line


def config(optim: dict | None = None, tuning: dict | None = None, **model) -> TrainConfig:
    return TrainConfig(
        model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny", **model),
        tuning=TuningConfig(**(tuning or {})),
        optim=OptimConfig(**(optim or {})),
    )


def trained(model: LisaModel) -> set[str]:
    """Names of the model's parts that have something to train."""
    return {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.requires_grad}


def model_for(settings: TrainConfig) -> LisaModel:
    model = build_model(ModelConfig(**{**vars(settings.model), "sam_checkpoint": None}))
    model.config = settings.model
    apply_tuning(model, settings.tuning)
    return model


def test_everything_trains_unless_it_is_frozen():
    parts = {"vlm", "decoder", "text_sam", "image_sam", "similarity"}
    assert trained(model_for(config())) == parts
    frozen = model_for(config(tuning={"vlm_freeze": True}))
    assert trained(frozen) - {"vlm"} == parts - {"vlm"}
    left = {name for name, parameter in frozen.vlm.named_parameters() if parameter.requires_grad}
    assert not any(name.startswith(frozen.vlm.pretrained_prefixes) for name in left)
    assert all(name.startswith("projector.") for name in left)  # no checkpoint holds it, so it has to learn


def test_sam_s_encoder_is_frozen_once_it_has_weights_worth_keeping():
    assert "sam_encoder" in trained(model_for(config(mask_features="sam")))
    frozen = model_for(config(mask_features="sam", sam_checkpoint="sam_vit_b.pth"))
    assert "sam_encoder" not in trained(frozen) and "decoder" in trained(frozen)


def test_the_trainable_line_has_peft_s_words():
    class Counted(nn.Module):
        """LLaVA-1.5-7B's shape in numbers: LoRA of rank 16 on two projections of 32 layers."""

        def __init__(self) -> None:
            super().__init__()
            self.adapters = nn.Parameter(torch.empty(32 * 2 * 16 * (4096 + 4096), device="meta"))
            self.base = nn.Parameter(torch.empty(7_063_427_072, device="meta"), requires_grad=False)

    line = "trainable params: 8,388,608 || all params: 7,071,815,680 || trainable%: 0.12%"
    assert trainable_line(Counted()) == line
    assert trainable_line(nn.Linear(3, 1)) == "trainable params: 4 || all params: 4 || trainable%: 100.00%"
    assert trainable_line(nn.Identity()) == "trainable params: 0 || all params: 0 || trainable%: 0.00%"


def test_the_trainable_line_counts_what_the_optimizer_gets():
    model = model_for(config(tuning={"vlm_freeze": True}))
    optimizer = build_optimizer(model, 1e-3, 0.1)
    given = sum(p.numel() for group in optimizer.param_groups for p in group["params"])
    counts = [int(text.replace(",", "")) for text in re.findall(r"params: ([\d,]+)", trainable_line(model))]
    assert counts == [given, sum(p.numel() for p in model.parameters())] and given < counts[1]


def test_each_parameter_is_in_one_group_and_only_matrices_decay():
    model = model_for(config(mask_features="sam"))
    optimizer = build_optimizer(model, 3e-4, 0.1)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed, plain = ([names[id(p)] for p in group["params"]] for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert all(group["lr"] == 3e-4 for group in optimizer.param_groups)
    trainable = sorted(name for name, parameter in model.named_parameters() if parameter.requires_grad)
    assert sorted(decayed + plain) == trainable
    tables = re.compile(r"bias|norm|embed_tokens|pos_embed|position_embedding|rel_pos|mask_tokens|iou_token|queries")
    assert not [name for name in decayed if tables.search(name)]
    assert {name.split(".")[-1] for name in decayed} == {"weight"}
    assert any(name.endswith("q_proj.weight") for name in decayed)


def rates(steps: int, **optim) -> list[float]:
    """The learning rate of each of `steps` optimizer steps at a peak of 1, and the one after them."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = build_schedule(optimizer, config(optim), steps)
    found = []
    for _ in range(steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_what_draws_has_its_own_rate_and_starts_when_it_trains():
    model = model_for(config(fine_features=True, map_prompt="relative"))
    optimizer = build_optimizer(model, 1e-3, 0.1, drawing=model.drawing_parts, drawing_rate=3e-3)
    assert [(group["lr"], group["weight_decay"], group["draws"]) for group in optimizer.param_groups] == [
        (1e-3, 0.1, False),
        (1e-3, 0.0, False),
        (3e-3, 0.1, True),
        (3e-3, 0.0, True),
    ]
    names = {id(parameter): name.split(".")[0] for name, parameter in model.named_parameters()}
    drawing = [{names[id(p)] for p in group["params"]} for group in optimizer.param_groups]
    assert drawing[2] | drawing[3] == {"decoder", "image_sam", "fine", "map_level"}
    assert drawing[0] | drawing[1] == {"vlm", "text_sam", "similarity"}
    schedule = build_schedule(optimizer, config({"warmup_ratio": 0.1}), 100, map_steps=60)
    found = []
    for _ in range(101):
        found.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        schedule.step()
    assert found[10][0] == pytest.approx(1e-3) and found[100][0] == pytest.approx(0)
    rate = [each[2] for each in found]
    assert rate[:61] == [0.0] * 61 and rate[62] == pytest.approx(1.5e-3) and rate[64] == pytest.approx(3e-3)
    assert rate[82] == pytest.approx(1.5e-3) and rate[100] == pytest.approx(0)


@pytest.mark.parametrize("name", ["cosine", "linear", "constant_with_warmup"])
def test_the_rate_warms_up_linearly_over_its_share_of_the_steps(name):
    found = rates(100, lr_schedule=name, warmup_ratio=0.2)
    assert found[:21] == pytest.approx([step / 20 for step in range(21)])
    falling = found[21:]
    if name == "constant_with_warmup":
        assert falling == pytest.approx([1.0] * len(falling))
    else:
        assert all(later < earlier for earlier, later in zip(found[20:], falling))
        assert found[60] == pytest.approx(0.5) and found[100] == pytest.approx(0)


@pytest.mark.parametrize("name", ["cosine", "linear", "constant_with_warmup"])
def test_without_warm_up_what_draws_starts_at_its_peak(name):
    model = model_for(config())
    optimizer = build_optimizer(model, 1e-3, 0.1, drawing=model.drawing_parts)
    schedule = build_schedule(optimizer, config({"warmup_ratio": 0.0, "lr_schedule": name}), 10, map_steps=5)
    found = []
    for _ in range(10):
        found.append(optimizer.param_groups[2]["lr"])
        optimizer.step()
        schedule.step()
    assert found[:6] == [0.0] * 5 + [1e-3]


def test_without_warm_up_the_first_step_has_the_peak():
    assert rates(10, warmup_ratio=0.0)[0] == 1.0
