from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText
from transformers.models.llava_next.modeling_llava_next import image_size_to_num_patches

import lisa_llava
from lisa_core import ConfigError
from lisa_core.lora import LoraSettings, count_lora_parameters
from lisa_core.testing import Subject, VLMSuite, misplaced_cells
from lisa_llava.tiny import tiny_llava, tiny_llava_next
from lisa_llava.vlm import Llava

(SPEC,) = lisa_llava.lisa_vlms()
BUILDERS = {"1.5": tiny_llava, "next": tiny_llava_next}
LORA = {
    "llava-hf/llava-1.5-7b-hf": 8_388_608,
    "llava-hf/llava-1.5-13b-hf": 13_107_200,
    "llava-hf/llava-v1.6-mistral-7b-hf": 6_815_744,
}


class TestLlava(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return "llava"


@pytest.mark.slow
class TestLlavaNext(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return lambda: Llava(*tiny_llava_next())


@pytest.fixture(scope="module", params=BUILDERS)
def subject(request):
    return Subject(lambda: Llava(*BUILDERS[request.param]()))


def processor_keys(vlm, batch):
    return {key: batch[key] for key in ("input_ids", "attention_mask", *vlm.image_keys) if key in batch}


@torch.no_grad()
def test_hidden_states_and_logits_are_those_of_a_plain_transformers_call(subject):
    batch = subject.batch()
    expected = subject.vlm.model(**processor_keys(subject.vlm, batch), output_hidden_states=True)
    output = subject.vlm(batch)
    assert torch.equal(output.hidden, expected.hidden_states[-1])
    assert torch.equal(output.logits, expected.logits)


@torch.no_grad()
def test_image_features_are_the_tower_s_own_before_its_last_layer(subject):
    vlm = subject.vlm
    small, *larger = subject.pictures
    batch = subject.batch([small, *(picture.resize((2 * picture.width, 2 * picture.height)) for picture in larger)])
    pixels = batch["pixel_values"]
    if vlm.is_next:
        config = vlm.model.config
        counts = [
            image_size_to_num_patches(size, config.image_grid_pinpoints, config.vision_config.image_size)
            for size in batch["image_sizes"]
        ]
        assert len(set(counts)) > 1  # the pictures are cut into different numbers of tiles
        pixels = pixels[:, 0]  # the base tile
    tower = vlm.model.model.vision_tower(pixels, output_hidden_states=True)
    assert torch.equal(vlm.encode_image(batch).sequence, tower.hidden_states[-2][:, 1:])


@torch.no_grad()
def test_several_feature_layers_stand_side_by_side():
    model, processor = tiny_llava()
    model.config.vision_feature_layer = [-2, -3]
    vlm = Llava(model, processor)
    assert Llava.dims_of(model.config).vision == 2 * 128
    batch = Subject(lambda: vlm).batch()
    output = vlm.model.model.vision_tower(batch["pixel_values"], output_hidden_states=True)
    expected = torch.cat([output.hidden_states[-2], output.hidden_states[-3]], -1)[:, 1:]
    grid = vlm.image_grid(output, batch)
    assert torch.equal(grid.flatten(2).transpose(1, 2), expected)


@pytest.mark.parametrize("fit", ["pad", "squash"])
def test_either_fit_is_registered_and_says_where_the_picture_is(fit):
    vlm = Llava(*tiny_llava())
    vlm.configure(image_fit=fit)
    for size in ((200, 100), (120, 200)):
        assert misplaced_cells(vlm, size, (2, 2)) == []
    batch = vlm.preprocess([Image.new("RGB", (200, 100)), Image.new("RGB", (60, 80))], ["a", "b"])
    pad = [[0.0, 0.25, 1.0, 0.75], [0.125, 0.0, 0.875, 1.0]]
    assert vlm.content(batch).tolist() == (pad if fit == "pad" else [[0.0, 0.0, 1.0, 1.0]] * 2)


def test_padding_has_the_colour_that_normalizes_to_zero():
    vlm = Llava(*tiny_llava())
    pixels = vlm.preprocess([Image.new("RGB", (200, 100), "white")], ["a"])["pixel_values"]
    assert pixels[0, :, :20].abs().max() < 0.02
    assert pixels[0, :, 40:56].min() > 1


def test_a_checkpoint_without_a_template_gets_the_family_s():
    for build, prompt in (
        (tiny_llava, "USER: <image>\nSegment it. ASSISTANT:"),
        (tiny_llava_next, "[INST] <image>\nSegment it. [/INST]"),
    ):
        vlm = Llava(*build())
        assert vlm.rows(["Segment it."], None) == ([prompt], [""])
        assert vlm.rows(["Segment it."], ["It is [SEG]."]) == ([prompt], [" It is [SEG].</s>"])
    model, processor = tiny_llava()
    processor.chat_template = "{{ messages[0]['content'][1]['text'] }}<image>"
    assert Llava(model, processor).rows(["Hm."], None)[0] == ["Hm.<image>"]


def test_a_processor_that_does_not_know_the_model_is_told_about_it():
    model, processor = tiny_llava()
    expected = Llava(model, processor).preprocess([Image.new("RGB", (96, 96))], ["a"])["input_ids"]
    processor.patch_size = processor.vision_feature_select_strategy = None
    assert torch.equal(Llava(model, processor).preprocess([Image.new("RGB", (96, 96))], ["a"])["input_ids"], expected)


@pytest.mark.parametrize("known", SPEC.checkpoints, ids=lambda known: known.name)
def test_published_checkpoints_have_the_figures_that_are_listed(known):
    path = Path(lisa_llava.__file__).parent / "configs" / f"{known.name.replace('/', '__')}.json"
    config = AutoConfig.for_model(**json.loads(path.read_text()))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == known.parameters
    dims = Llava.dims_of(config)
    assert (dims.vision, dims.text) == (known.vision_dim, known.text_dim)
    assert count_lora_parameters(model, Llava.lora_layers(model), LoraSettings(r=16)) == LORA[known.name]


def test_a_checkpoint_of_another_family_is_refused_before_it_is_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "paligemma"}')
    with pytest.raises(ConfigError, match=r"paligemma checkpoint.*llava, llava_next"):
        Llava.from_pretrained(str(tmp_path))
