from __future__ import annotations

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from lisa_core.build import build_model, build_vlm, resolve_sources, sam_size, vlm_source
from lisa_core.config import ModelConfig
from lisa_core.data.collate import Collator
from lisa_core.errors import ConfigError, PluginError
from lisa_core.registry import CLIP_LLM
from lisa_core.sam import SAM_SIZES


def tiny(vlm: str = "clip-llm", **config) -> ModelConfig:
    return ModelConfig(vlm=vlm, vlm_model_name="tiny", **config)


@torch.no_grad()
@pytest.mark.parametrize("similarity_map", [True, False])
@pytest.mark.parametrize("features", ["vlm", "sam"])
@pytest.mark.parametrize("fusion", ["joint", "late"])
@pytest.mark.parametrize("vlm", ["clip-llm", "smolvlm"])
def test_a_model_has_the_parts_its_config_names_and_draws(vlm, fusion, features, similarity_map):
    config = tiny(vlm, fusion=fusion, mask_features=features, similarity_map=similarity_map, num_prompts=3)
    model = build_model(config).eval()
    assert model.config is config and model.vlm.family == vlm
    assert (model.image_text is not None) == (fusion == "late")
    assert (model.image_sam is not None) == (features == "vlm") == (model.sam_encoder is None)
    assert (model.similarity is not None) == similarity_map
    assert all(parameter.device.type == "cpu" and parameter.dtype == torch.float32 for parameter in model.parameters())
    pictures = [Image.new("RGB", (50, 30), "red"), Image.new("RGB", (30, 50), "blue")]
    collator = Collator(model.vlm, config, sam_size(config))
    output = model(collator.inputs(pictures, ["Segment it."] * 3, ["It is [SEG]."] * 3, [0, 1, 1]))
    assert output.rows.tolist() == [0, 1, 2]
    assert output.mask_logits.shape[0] == output.iou.shape[0] == 3 and output.mask_logits.isfinite().all()
    assert (output.similarity_logits is not None) == similarity_map


@torch.no_grad()
def test_num_prompts_is_how_many_prompts_a_mask_has():
    model = build_model(tiny(num_prompts=5))
    context = torch.zeros(2, 1, model.vlm.dims.text)
    assert model.text_sam(context, torch.ones(2, 1, dtype=torch.bool)).shape == (2, 5, model.decoder.prompt_dim)


def test_a_family_that_is_not_there_is_refused():
    with pytest.raises(PluginError, match="unknown VLM family 'frobnicator'"):
        build_model(ModelConfig(vlm="frobnicator", vlm_model_name="tiny"))


def test_a_checkpoint_of_another_family_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ConfigError, match=r"is a llava checkpoint, but --vlm smolvlm reads idefics3, smolvlm"):
        build_vlm(ModelConfig(vlm="smolvlm", vlm_model_name=str(tmp_path)))


@pytest.mark.parametrize("vlm", ["clip-llm", "smolvlm"])
def test_a_folder_without_a_model_is_one_line(tmp_path, vlm):
    name = str(tmp_path) if vlm == "smolvlm" else f"{tmp_path}+{tmp_path}"
    with pytest.raises(ConfigError, match=f"cannot load {tmp_path}") as caught:
        build_vlm(ModelConfig(vlm=vlm, vlm_model_name=name))
    assert "\n" not in str(caught.value)


def test_where_the_vlm_comes_from():
    assert vlm_source(ModelConfig(vlm="clip-llm")) == CLIP_LLM.default_checkpoint
    assert vlm_source(ModelConfig(vlm="smolvlm", vlm_model_name="acme/x")) == "acme/x"
    pair = {"image_encoder_model_name": "acme/eye", "text_encoder_model_name": "acme/tongue"}
    assert vlm_source(ModelConfig(vlm="clip-llm", **pair)) == "acme/eye+acme/tongue"


def test_sam_has_the_size_named_and_auto_goes_with_the_vlm():
    assert sam_size(tiny()) == SAM_SIZES["tiny"]
    assert sam_size(ModelConfig(vlm="smolvlm")) == SAM_SIZES["vit_b"]
    assert sam_size(tiny(sam="vit_l")) == SAM_SIZES["vit_l"]


@pytest.mark.parametrize("features", ["vlm", "sam"])
def test_sam_s_width_and_depth_can_be_chosen(features):
    model = build_model(tiny(mask_features=features, sam_prompt_dim=64, sam_decoder_depth=1))
    assert model.decoder.prompt_dim == 64 and len(model.decoder.mask_decoder.transformer.layers) == 1
    with torch.no_grad():
        grid = torch.zeros(1, model.vlm.dims.vision, 12, 12)
        side = sam_size(model.config).image_size
        drawn_on = model.image_sam(grid) if features == "vlm" else model.sam_encoder(torch.zeros(1, 3, side, side))
    assert drawn_on.shape[1] == 64


def sam_file(path, config: ModelConfig):
    """A SAM checkpoint of the model's size with the official names."""
    torch.manual_seed(9)
    model = build_model(config)
    state = {**model.decoder.state_dict(), **model.sam_encoder.state_dict()}
    save_file({key: value.contiguous() for key, value in state.items()}, path)
    return state


@pytest.mark.parametrize("features", ["vlm", "sam"])
def test_sam_s_parts_are_filled_from_its_checkpoint(tmp_path, features):
    state = sam_file(tmp_path / "sam.safetensors", tiny(mask_features="sam"))
    torch.manual_seed(1)
    model = build_model(tiny(mask_features=features, sam_checkpoint=str(tmp_path / "sam.safetensors")))
    parts = [model.decoder] if features == "vlm" else [model.decoder, model.sam_encoder]
    for part in parts:
        assert all(torch.equal(value, state[key]) for key, value in part.state_dict().items())


@pytest.mark.parametrize("change", [{"sam_prompt_dim": 64}, {"sam_decoder_depth": 3}, {"sam": "vit_b"}], ids=str)
def test_a_sam_checkpoint_of_another_size_is_refused(tmp_path, change):
    path = tmp_path / "sam.safetensors"
    sam_file(path, tiny(mask_features="sam"))
    with pytest.raises(
        ConfigError, match=r"sam\.safetensors does not fit this SAM .*--sam must name the size"
    ) as caught:
        build_model(tiny(sam_checkpoint=str(path), **change))
    assert "\n" not in str(caught.value)


def test_a_sam_checkpoint_that_is_missing_is_named(tmp_path):
    with pytest.raises(ConfigError, match=f"no SAM checkpoint at {tmp_path / 'absent.pth'}"):
        build_model(tiny(sam_checkpoint=str(tmp_path / "absent.pth")))


def test_a_config_is_kept_so_that_it_loads_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vlm").mkdir()
    kept = resolve_sources(
        ModelConfig(vlm="clip-llm", image_encoder_model_name="vlm", text_encoder_model_name="org/llm")
    )
    assert kept.image_encoder_model_name == str(tmp_path / "vlm")
    assert kept.text_encoder_model_name == "org/llm"
    assert resolve_sources(ModelConfig(vlm="clip-llm")).vlm_model_name == CLIP_LLM.default_checkpoint
    assert resolve_sources(tiny()).vlm_model_name == "tiny"
    kept = resolve_sources(ModelConfig(vlm_model_name="vlm+org/llm"))
    assert (kept.vlm, kept.vlm_model_name) == ("clip-llm", f"{tmp_path / 'vlm'}+org/llm")


def test_a_config_that_names_no_family_builds_the_one_that_reads_the_checkpoint(tmp_path):
    folder = build_vlm(tiny("smolvlm")).save_pretrained(tmp_path)
    model = build_model(ModelConfig(vlm_model_name=folder, sam="tiny"))
    assert (model.vlm.family, model.config.vlm, model.config.vlm_model_name) == ("smolvlm", "smolvlm", folder)
    assert resolve_sources(ModelConfig(vlm_model_name=folder)).vlm == "smolvlm"
    with pytest.raises(ConfigError, match="give --vlm FAMILY"):
        build_model(ModelConfig(vlm_model_name="tiny"))


def test_the_family_s_options_reach_it(tmp_path):
    assert build_vlm(tiny("smolvlm")).processor.image_processor.do_image_splitting is False
    config = tiny("smolvlm", vlm_option=("image_splitting=yes",))
    assert build_vlm(config).processor.image_processor.do_image_splitting is True
    with pytest.raises(ConfigError, match=r"--vlm clip-llm has no option 'image_splitting'; its options: none"):
        build_vlm(tiny(vlm_option=("image_splitting=yes",)))
    with pytest.raises(ConfigError, match="no option 'x'"):
        resolve_sources(tiny(vlm_option=("x=1",)))
