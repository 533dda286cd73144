from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from lisa_core.build import build_model, source_names
from lisa_core.checkpoint import find_checkpoint, load_checkpoint
from lisa_core.merge import FINISHED
from lisa_core.model_config import ModelConfig, TuningConfig
from lisa_core.sam import SAM_SIZES, SamImageEncoder, SamMaskDecoder, load_sam_weights
from lisa_core.standalone import bases, origin, sources, write_sam, write_standalone
from lisa_core.vetting import is_hub_name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *((name, True) for name in ("org/name", "gpt2", "HuggingFaceTB/SmolVLM-Instruct")),
        *((name, False) for name in ("/data/org/name", "./vlm", "~/vlm", "C:\\vlm", "a/b/c", "org/na me", "")),
    ],
)
def test_hub_names_are_told_from_paths(name, expected):
    assert is_hub_name(name) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ModelConfig(vlm="clip-llm", vlm_model_name="org/eyes+org/words"), ["org/eyes", "org/words"]),
        (
            ModelConfig(vlm="clip-llm", image_encoder_model_name="org/eyes", text_encoder_model_name="org/words"),
            ["org/eyes", "org/words"],
        ),
        (ModelConfig(vlm="smolvlm", vlm_model_name="org/vlm"), ["org/vlm"]),
        (ModelConfig(vlm="smolvlm"), ["HuggingFaceTB/SmolVLM-Instruct"]),
        (ModelConfig(vlm="smolvlm", vlm_model_name="tiny"), []),
    ],
)
def test_what_a_vlm_is_loaded_from(config, expected):
    assert source_names(config) == expected


def test_sam_s_parts_come_back_as_a_sam_checkpoint(tmp_path):
    torch.manual_seed(0)
    parts = [SamImageEncoder(SAM_SIZES["tiny"]), SamMaskDecoder(SAM_SIZES["tiny"])]
    write_sam(tmp_path / "sam.safetensors", parts)
    again = [SamImageEncoder(SAM_SIZES["tiny"]), SamMaskDecoder(SAM_SIZES["tiny"])]
    load_sam_weights(again, tmp_path / "sam.safetensors")
    for part, other in zip(parts, again):
        assert all(torch.equal(value, other.state_dict()[name]) for name, value in part.state_dict().items())


@pytest.mark.parametrize("place", ["plain", "with a blank", "with.dots", "bücher", "c++"])
def test_a_pair_is_found_wherever_the_folder_is_moved(place, tmp_path):
    model = build_model(ModelConfig(vlm="clip-llm", vlm_model_name="tiny"))
    model.tuning = FINISHED
    (tmp_path / "first").mkdir()
    write_standalone(tmp_path / "first", model, {})
    meta = json.loads((tmp_path / "first" / "lisa.json").read_text())
    assert meta["model"]["vlm_model_name"] == "./vlm/vision+./vlm/language"
    folder = shutil.move(tmp_path / "first", tmp_path / place)
    assert load_checkpoint(folder).config.sam_size_name == "tiny"
    shutil.rmtree(Path(folder) / "vlm" / "language")
    with pytest.raises(Exception, match="cannot load"):
        load_checkpoint(folder)


def test_where_a_model_comes_from(small_run, small_vlm, tmp_path):
    config = ModelConfig(vlm="smolvlm", vlm_model_name=small_vlm("smolvlm"), sam="tiny")
    small_run(tmp_path / "run", config, TuningConfig(vlm_use_lora=True))
    checkpoint = find_checkpoint(tmp_path / "run")
    assert [str(path) for path in sources(checkpoint)] == [small_vlm("smolvlm")] and bases(checkpoint) == []
    facts = origin(checkpoint, "float16", "4bit")
    assert facts["rounded_to"] == "float16" and facts["merged_from"] == "4bit" and not facts["from_scratch"]
    # What was said before is handed on.
    checkpoint.meta.update(facts, base=["org/vlm"], from_scratch=True)
    again = origin(checkpoint)
    assert (again["base"], again["rounded_to"], again["merged_from"]) == (["org/vlm"], "float16", "4bit")
    assert again["from_scratch"]
