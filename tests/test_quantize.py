"""4- and 8-bit loading on this machine's CPU kernels; CUDA's own are not run here."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from lisa_core.clip_llm import ClipLLM
from lisa_core.errors import ConfigError
from lisa_core.lora import LoraSettings, add_lora

bitsandbytes = pytest.importorskip("bitsandbytes", reason="4- and 8-bit loading needs bitsandbytes")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    torch.manual_seed(0)
    vlm = ClipLLM.tiny().eval()
    return vlm, vlm.save_pretrained(tmp_path_factory.mktemp("pair"))


def batch_of(vlm):
    return vlm.preprocess([Image.new("RGB", (40, 30), "red")], ["Segment it."], ["It is [SEG]."])


def test_only_the_language_model_is_quantized_and_not_its_head(saved):
    for kind, layer in (("4bit", bitsandbytes.nn.Linear4bit), ("8bit", bitsandbytes.nn.Linear8bitLt)):
        vlm = ClipLLM.from_pretrained(saved[1], quantization=kind)
        found = {name for name, module in vlm.named_modules() if isinstance(module, layer)}
        assert len(found) == 3 * 7 and all(name.startswith("language.model.layers.") for name in found)


@torch.no_grad()
def test_a_4_bit_model_is_its_dequantized_weights(saved):
    _, name = saved
    quantized, plain = ClipLLM.from_pretrained(name, quantization="4bit").eval(), ClipLLM.from_pretrained(name).eval()
    for module_name, module in quantized.language.named_modules():
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            weight = bitsandbytes.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
            plain.language.get_submodule(module_name).weight.copy_(weight)
    plain.projector.load_state_dict(quantized.projector.state_dict())
    for attempt in range(2):  # a first evaluation must not switch kernels for a second
        expected, found = (vlm(batch_of(vlm)).hidden for vlm in (plain, quantized))
        torch.testing.assert_close(found, expected, atol=2e-2, rtol=2e-2, msg=f"evaluation {attempt}")


@pytest.mark.parametrize("kind", ["4bit", "8bit"])
def test_adapters_on_quantized_weights_get_gradients_after_an_evaluation(saved, kind):
    vlm = ClipLLM.from_pretrained(saved[1], quantization=kind).eval()
    with torch.no_grad():
        vlm(batch_of(vlm))
    add_lora(vlm, LoraSettings(r=4, dropout=0.0))
    vlm.train()(batch_of(vlm)).hidden.square().mean().backward()
    gradients = [parameter.grad for name, parameter in vlm.named_parameters() if "lora_B" in name]
    assert gradients and all(gradient is not None and gradient.any() for gradient in gradients)


def test_an_undeclared_quantization_is_refused(saved, monkeypatch):
    monkeypatch.setattr(ClipLLM, "quantizations", ("4bit",))
    with pytest.raises(ConfigError, match=r"clip-llm cannot be loaded with quantization '8bit': it can do 4bit"):
        ClipLLM.from_pretrained(saved[1], quantization="8bit")
    with pytest.raises(ConfigError, match="'2bit'"):
        ClipLLM.from_pretrained(saved[1], quantization="2bit")
