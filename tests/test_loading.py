from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch

from lisa_core.build import build_model
from lisa_core.errors import ConfigError
from lisa_core.loading import load_errors
from lisa_core.model_config import ModelConfig
from lisa_core.sam import SAM_SIZES, SamMaskDecoder, load_sam_weights


class Bomb:
    """What a pickle can be: a program that runs when it is read."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return Path.touch, (self.target,)


@pytest.fixture
def base(small_vlm, tmp_path) -> Path:
    """A base of its own, without weights."""
    folder = Path(shutil.copytree(small_vlm("smolvlm"), tmp_path / "base"))
    (folder / "model.safetensors").unlink()
    return folder


def refusal(base: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        build_model(ModelConfig(vlm="smolvlm", vlm_model_name=str(base), sam="tiny"))
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_base_that_is_a_program_is_one_line(zipped, base, tmp_path):
    bomb = Bomb(tmp_path / "exploded")
    torch.save({"weight": bomb}, base / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    said = refusal(base)
    assert f"cannot load {base}: it is damaged, or a pickle that holds more than tensors, which is never read;" in said
    assert "torch." not in said and not (tmp_path / "exploded").exists()


def test_a_base_without_weights_is_told_in_words(base):
    assert f"cannot load {base}: it has no weights (model.safetensors); the folder must hold" in refusal(base)


@pytest.mark.parametrize("content", [b"", b"nothing"])
def test_a_sam_file_that_is_a_program_is_one_line(content, tmp_path):
    path = tmp_path / "sam.pth"
    path.write_bytes(content or pickle.dumps(Bomb(tmp_path / "exploded"), protocol=2))
    with pytest.raises(ConfigError) as caught:
        load_sam_weights([SamMaskDecoder(SAM_SIZES["tiny"])], path)
    said = str(caught.value)
    assert said.endswith("read safely: it is damaged, or a pickle that holds more than tensors, which is never read")
    assert not (tmp_path / "exploded").exists()


def test_a_long_reason_ends_with_a_whole_word(tmp_path):
    with pytest.raises(ConfigError) as caught, load_errors("org/name"):
        raise ValueError(" ".join(["reason"] * 100))
    reason = str(caught.value).split("; ")[0].removeprefix("cannot load org/name: ")
    assert len(reason) <= 240 and set(reason.split()) == {"reason", "..."}


def test_a_bug_stays_one():
    with pytest.raises(ZeroDivisionError), load_errors("org/name"):
        raise ZeroDivisionError


def test_no_bars_in_a_log(small_vlm, capfd):
    config = ModelConfig(vlm="clip-llm", vlm_model_name=small_vlm("clip-llm"), sam="tiny")
    capfd.readouterr()
    for _ in range(2):
        build_model(config)
    assert "%" not in capfd.readouterr().err
