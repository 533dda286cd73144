"""The bytes told of a model without weights are those of the model with them."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from lisa_core.build import build_model, resolve_sources
from lisa_core.config import ModelConfig, OptimConfig, TrainConfig, TuningConfig
from lisa_core.engine import Engine
from lisa_core.model import LisaModel
from lisa_core.packed import quantize_skeleton
from lisa_core.precision import half_dtype, set_precision
from lisa_core.processes import Processes
from lisa_core.registry import get_registry
from lisa_core.skeleton import build_skeleton
from lisa_core.static_memory import WEIGHTS, static_memory
from lisa_core.tuning import apply_tuning

FAMILIES = ["clip-llm", "llava", "paligemma", "qwenvl", "smolvlm"]
MODES = {"frozen": {"vlm_freeze": True}, "lora": {"vlm_use_lora": True}, "full": {}, "both": {"use_lora": True}}


def tuned(model: LisaModel, tuning: TuningConfig, precision: str) -> LisaModel:
    apply_tuning(model, tuning)
    set_precision(model, precision)
    return model


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folders: dict[str, str] = {}

    def name_of(family: str) -> str:
        if family not in folders:
            vlm = get_registry().load_vlm_class(family).tiny()
            folders[family] = vlm.save_pretrained(tmp_path_factory.mktemp(family))
        return folders[family]

    return name_of


@pytest.mark.parametrize("precision", ["no", "bf16"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "family",
    [pytest.param(family, marks=() if family == "smolvlm" else pytest.mark.slow) for family in FAMILIES],
)
def test_a_skeleton_has_the_bytes_of_the_model(saved, family, mode, precision):
    model = ModelConfig(vlm=family, vlm_model_name=saved(family), sam="tiny", mask_features="sam")
    config = TrainConfig(model=resolve_sources(model), tuning=TuningConfig(**MODES[mode]))
    real = tuned(build_model(config.model), config.tuning, precision)
    skeleton = tuned(build_skeleton(config.model), config.tuning, precision)
    assert all(value.is_meta for value in skeleton.parameters())
    assert static_memory(skeleton, config) == static_memory(real, config)


def test_the_parts_add_up_to_the_model():
    config = TrainConfig(model=ModelConfig(vlm="smolvlm", vlm_model_name="tiny"))
    model = tuned(build_skeleton(config.model), config.tuning, "no")
    found = static_memory(model, config)
    tensors = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    assert sum(found[name] for name in WEIGHTS) == sum(tensor.nbytes for tensor in tensors.values())
    assert found["parameters"] == sum(value.numel() for value in model.parameters())
    assert found["trainable"] == sum(value.numel() for value in model.parameters() if value.requires_grad)
    assert found["optimizer"] == 8 * found["trainable"]
    assert static_memory(model, None)["optimizer"] == 0
    eight = dataclasses.replace(config, optim=OptimConfig(optimizer="adamw_8bit"))
    assert found["optimizer"] / 4 < static_memory(model, eight)["optimizer"] < found["optimizer"] / 3


def test_the_optimizer_s_state_is_what_it_keeps_after_a_step():
    config = TrainConfig(
        model=resolve_sources(ModelConfig(vlm="clip-llm", vlm_model_name="tiny", fusion="late")),
        optim=OptimConfig(decoder_optimizer="muon"),
    )
    model = tuned(build_model(config.model), config.tuning, "no")
    engine = Engine(model, config, Processes("cpu"), total_steps=1)
    for parameter in engine.parameters:
        parameter.grad = torch.ones_like(parameter)
    engine.optimizer.step()
    states = [value for state in engine.optimizer.state.values() for value in state.values() if value.ndim]
    scalars = [parameter for parameter in engine.parameters if not parameter.ndim]
    assert not scalars and static_memory(model, config)["optimizer"] == sum(value.nbytes for value in states)


@pytest.mark.parametrize("kind", ["4bit", "8bit"])
def test_packed_layers_are_as_large_as_bitsandbytes_are(saved, kind):
    pytest.importorskip("bitsandbytes", reason="4- and 8-bit loading needs bitsandbytes")
    model = resolve_sources(ModelConfig(vlm="smolvlm", vlm_model_name=saved("smolvlm"), sam="tiny"))
    real = build_model(model, quantization=kind)
    skeleton = build_skeleton(model)
    quantize_skeleton(skeleton.vlm, kind, half_dtype("bf16"))
    told = static_memory(skeleton, None)
    found = 0
    for module in real.vlm.language_model.modules():
        if "Linear4bit" in type(module).__name__:
            state = module.weight.quant_state
            scales = (state.absmax, *((state.state2.absmax,) if state.nested else ()))
            found += module.weight.nbytes + sum(scale.nbytes for scale in scales)
        elif "Linear8bit" in type(module).__name__:
            scale = module.weight.SCB if module.weight.SCB is not None else module.state.SCB
            found += module.weight.nbytes + scale.nbytes
    assert told["quantized"] == pytest.approx(found, rel=0.03)
    assert told["parameters"] == sum(
        value.numel() * (2 if type(value).__name__ == "Params4bit" else 1) for value in real.parameters()
    )
