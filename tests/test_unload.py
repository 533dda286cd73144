from __future__ import annotations

import pytest
import torch
from torch import nn

from lisa_core.clip_llm import ClipLLM
from lisa_core.errors import CheckpointError
from lisa_core.lora import LoraSettings, adapt, add_lora
from lisa_core.model_config import TuningConfig
from lisa_core.unload import is_adapted, unload_adapters


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.Conv2d(1, 3, 2), nn.Linear(6, 2))


def noisy(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return module.eval()


@pytest.mark.parametrize("settings", [LoraSettings(r=2), LoraSettings(r=2, dora=True), LoraSettings(r=2, rslora=True)])
@torch.no_grad()
def test_layers_compute_the_same_merged_and_what_they_did_before_unmerged(settings):
    for name, shape in (("0", (5, 4)), ("1", (1, 1, 5, 5))):
        plain, adapted, values = layers(), layers(), torch.randn(shape)
        with torch.enable_grad():
            adapt(adapted, [name], settings)
            noisy(adapted)
        layer = adapted.get_submodule(name)
        before = layer(values)
        assert not torch.allclose(before, plain.get_submodule(name)(values))
        kept, original = adapted.get_submodule(name).get_base_layer(), plain.get_submodule(name).weight
        assert torch.equal(kept.weight, original)
        assert unload_adapters(adapted, merge=True) == 1
        assert type(adapted.get_submodule(name)) is type(plain.get_submodule(name))
        torch.testing.assert_close(adapted.get_submodule(name)(values), before, atol=1e-5, rtol=1e-5)
        assert list(adapted.state_dict()) == list(plain.state_dict())


def test_without_merging_the_weights_are_those_from_before():
    adapted, plain = layers(), layers()
    adapt(adapted, ["0", "2"], LoraSettings(r=2))
    assert unload_adapters(noisy(adapted), merge=False) == 2
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in adapted.state_dict().items())


def test_a_model_that_was_unloaded_can_be_adapted_again_without_a_warning(recwarn):
    vlm = ClipLLM.tiny()
    count = len(vlm.lora_targets())
    for _ in range(2):
        add_lora(vlm, LoraSettings(r=2))
        assert unload_adapters(vlm, merge=True) == count + 2  # and the rows of embeddings and head
    assert not [str(warning.message) for warning in recwarn if "peft" in str(warning.message).lower()]
    assert unload_adapters(vlm, merge=True) == 0


def test_numbers_that_are_not_finite_are_refused():
    adapted = layers()
    adapt(adapted, ["0"], LoraSettings(r=2))
    with torch.no_grad():
        adapted[0].lora_A["default"].weight[0] = float("inf")
        adapted[0].lora_B["default"].weight[0] = 1.0
    with pytest.raises(CheckpointError, match="the adapter on 0 holds numbers that are not finite"):
        unload_adapters(adapted, merge=True)


@pytest.mark.parametrize(
    ("tuning", "expected"),
    [
        ({}, False),
        ({"vlm_freeze": True}, False),
        ({"vlm_use_lora": True}, True),
        ({"tune_vision": "lora", "tune_language": "freeze"}, True),
        ({"vlm_freeze": True, "tune_connectors": "lora"}, True),
        ({"vlm_freeze": True, "tune_sam_decoder": "lora"}, True),
        ({"vlm_freeze": True, "tune_sam_encoder": "lora"}, True),
    ],
)
def test_which_models_have_adapters(tuning, expected):
    assert is_adapted(TuningConfig(**tuning)) == expected
