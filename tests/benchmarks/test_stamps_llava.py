"""The joined model is read by the llava family, and computes what its two halves compute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import llava
import pytest
import torch
from PIL import Image
from transformers import BitImageProcessor, Dinov2Config, Dinov2Model, LlamaConfig, LlamaForCausalLM

from lisa_core.config_file import resolve
from lisa_core.errors import ConfigError
from lisa_core.tiny import tiny_text_config, tiny_tokenizer

lisa_llava = pytest.importorskip("lisa_llava.vlm")


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("halves")
    torch.manual_seed(0)
    size = {"height": 56, "width": 56}
    tower = Dinov2Model(
        Dinov2Config(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    )
    tower.save_pretrained(root / "vision")
    BitImageProcessor(size=size, crop_size=size, do_center_crop=False).save_pretrained(root / "vision")
    tokenizer = tiny_tokenizer(["<|im_start|>", "<|im_end|>"])
    sizes: dict[str, Any] = tiny_text_config(tokenizer, tie_word_embeddings=True, num_hidden_layers=2)
    LlamaForCausalLM(LlamaConfig(**sizes)).save_pretrained(root / "language")
    tokenizer.save_pretrained(root / "language")
    return root / "vision", root / "language"


def test_the_family_reads_it_with_the_halves_weights(halves: tuple[Path, Path], tmp_path: Path) -> None:
    llava.assemble(*halves, tmp_path / "joined")
    vlm = lisa_llava.Llava.from_pretrained(str(tmp_path / "joined")).eval()
    image = Image.effect_noise((56, 56), 80).convert("RGB")
    batch = vlm.preprocess([image], ["Segment the red ring."], ["It is [SEG]."])
    with torch.no_grad():
        features = vlm.encode_image(batch)
        tower = Dinov2Model.from_pretrained(halves[0]).eval()
        states = tower(pixel_values=batch["pixel_values"], output_hidden_states=True).hidden_states[-1][:, 1:]
        assert torch.allclose(features.sequence, states, atol=1e-5)
        reader = LlamaForCausalLM.from_pretrained(halves[1]).eval()
        plain = vlm.preprocess([image], ["red ring"], joint=False)
        expected = reader.model(input_ids=plain["text_input_ids"]).last_hidden_state
        assert torch.allclose(vlm.encode_text(plain), expected, atol=1e-5)
        assert torch.isfinite(vlm(batch, features).hidden).all()
    text = vlm.tokenizer.decode(batch["input_ids"][0])
    assert text.count("<image>") == 16 and "<|im_start|>user" in text and "[SEG]" in text


def test_its_configurations_are_ones_that_train_takes() -> None:
    folder = Path(llava.__file__).parent
    align, segment = (folder / name for name in ("llava-align.yaml", "llava.yaml"))
    aligned = resolve({"output_dir": "out"}, str(align)).config
    aligned.validate()
    assert aligned.tuning.tune_projector == "train"
    for how in ("vlm_freeze", "vlm_use_lora"):
        config = resolve({"output_dir": "out", how: True}, str(segment)).config
        config.validate()
        assert config.model == aligned.model, "else parts of it start at random after all"


def test_what_is_missing_or_in_the_way_is_said(halves: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"run weights\.py first"):
        llava.assemble(tmp_path / "absent", halves[1], tmp_path / "out")
    with pytest.raises(ConfigError, match="is there already"):
        llava.assemble(*halves, tmp_path)
