from __future__ import annotations

import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, LlamaConfig, LlamaForCausalLM, LlavaConfig

from lisa_core.checkpoint import load_checkpoint
from lisa_core.clip_llm import ClipLLM
from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig, TuningConfig
from lisa_core.errors import ConfigError
from lisa_core.hf import HFVLM
from lisa_core.lora import LoraSettings, add_lora, count_lora_parameters
from lisa_core.trainer import Trainer


@pytest.fixture
def vlm():
    torch.manual_seed(0)
    return ClipLLM.tiny()


def trained(vlm):
    return {name for name, parameter in vlm.named_parameters() if parameter.requires_grad}


def test_adapters_the_seg_rows_and_what_no_checkpoint_holds_train_and_nothing_else(vlm):
    projector = {f"projector.{name}" for name, _ in vlm.projector.named_parameters()}
    targets = vlm.lora_targets()
    add_lora(vlm, LoraSettings(r=2))
    names = trained(vlm)
    rest = {name for name in names - projector if "lora_" not in name}
    assert projector <= names
    assert {name.split(".token_adapter")[0] for name in rest} == {"language.model.embed_tokens", "language.lm_head"}
    assert len([name for name in names if "lora_A" in name]) == len(targets) == 2 * 3


def test_new_adapters_change_nothing_yet(vlm):
    vlm.eval()
    batch = vlm.preprocess([Image.new("RGB", (40, 30), "red")], ["Segment it."], ["It is [SEG]."])
    with torch.no_grad():
        before = vlm(batch).hidden
        add_lora(vlm)
        assert torch.equal(vlm.eval()(batch).hidden, before)


def test_the_count_is_that_of_what_is_added(vlm):
    expected = sum(
        4 * (layer.in_features + layer.out_features) for layer in map(vlm.language.get_submodule, vlm.lora_targets())
    )
    assert count_lora_parameters(vlm.language, vlm.lora_targets(), LoraSettings(r=4)) == expected


def test_the_vision_tower_s_layers_of_the_same_name_are_left_alone():
    small = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config={"model_type": "clip_vision_model", "image_size": 28, "patch_size": 14, **small},
        text_config={"model_type": "llama", "vocab_size": 64, **small},
        image_token_index=3,
    )
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    names = HFVLM.lora_layers(model)
    assert len(names) == 4 and all("language_model" in name for name in names)


def test_a_family_that_names_no_layers_is_refused(vlm, monkeypatch):
    monkeypatch.setattr(ClipLLM, "lora_names", ("no_such_layer",))
    with pytest.raises(ConfigError, match="clip-llm names no layers for LoRA"):
        add_lora(vlm)


@pytest.mark.slow
def test_a_checkpoint_of_adapters_is_small_beside_the_model_they_adapt(scenes, tmp_path):
    """SmolLM2-135M's shape, with random weights: the checkpoint holds under 3% of the base's bytes."""
    pair = ClipLLM.tiny()
    shape = LlamaConfig(
        vocab_size=49152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        tie_word_embeddings=True,
    )
    language = LlamaForCausalLM(shape)
    assert sum(parameter.numel() for parameter in language.parameters()) == 134_515_008
    name = ClipLLM(pair.vision, language, pair.image_processor, pair.tokenizer).save_pretrained(tmp_path / "pair")
    config = TrainConfig(
        model=ModelConfig(vlm="clip-llm", vlm_model_name=name, sam="tiny"),
        tuning=TuningConfig(vlm_use_lora=True),
        data=DataConfig(data=str(scenes), batch_size=2, max_train_samples=2, max_val_samples=1),
        optim=OptimConfig(num_epochs=1),
        run=RunConfig(output_dir=str(tmp_path / "run"), device="cpu"),
    )
    Trainer(config).run()
    base = (tmp_path / "pair" / "language" / "model.safetensors").stat().st_size
    held = (tmp_path / "run" / "best" / "model.safetensors").stat().st_size
    assert held < 0.03 * base, held / base
    again = load_checkpoint(tmp_path / "run")
    assert any("lora_A" in key for key in again.state_dict())
    adapter = sum(p.numel() for key, p in again.named_parameters() if "lora_" in key)
    assert adapter == 30 * 16 * (576 + 576 + 576 + 192)
