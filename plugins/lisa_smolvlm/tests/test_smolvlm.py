from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
)

import lisa_smolvlm
from lisa_core import ConfigError
from lisa_core.lora import LoraSettings, count_lora_parameters
from lisa_core.testing import Subject, VLMSuite
from lisa_smolvlm.tiny import tiny_smolvlm
from lisa_smolvlm.vlm import SmolVLM

(SPEC,) = lisa_smolvlm.lisa_vlms()
KEYS = ("input_ids", "attention_mask", "pixel_values", "pixel_attention_mask")


def smolvlm_split() -> SmolVLM:
    """SmolVLM that also reads crops: pictures are scaled to 192 pixels and cut into tiles of 96."""
    vlm = SmolVLM.tiny()
    vlm.configure(image_splitting=True, longest_edge=192)
    return vlm


def idefics3(splitting: bool) -> SmolVLM:
    """The Idefics3 classes around the tiny SmolVLM's shapes, with or without image splitting."""
    small = SmolVLM.tiny()
    config = Idefics3Config(
        **{
            key: value
            for key, value in small.model.config.to_dict().items()
            if key in ("image_token_id", "scale_factor", "pad_token_id", "text_config")
        },
        vision_config={**small.model.config.vision_config.to_dict(), "model_type": "idefics3_vision"},
    )
    processor = Idefics3Processor(
        image_processor=Idefics3ImageProcessor(
            size={"longest_edge": 192}, max_image_size={"longest_edge": 96}, do_image_splitting=splitting
        ),
        tokenizer=small.tokenizer,
        image_seq_len=16,
        chat_template=small.processor.chat_template,
    )
    return SmolVLM(Idefics3ForConditionalGeneration(config), processor)


BUILDERS = {
    "smolvlm": SmolVLM.tiny,
    "smolvlm split": smolvlm_split,
    "idefics3": lambda: idefics3(False),
    "idefics3 split": lambda: idefics3(True),
}


class TestSmolVLM(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return "smolvlm"


class TestSmolVLMSplit(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return smolvlm_split


class TestIdefics3Split(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return lambda: idefics3(True)


class TestIdefics3(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return lambda: idefics3(False)


@pytest.fixture(scope="module", params=BUILDERS)
def subject(request):
    return Subject(BUILDERS[request.param])


@torch.no_grad()
def test_hidden_states_and_logits_are_those_of_a_plain_transformers_call(subject):
    batch = subject.batch()
    expected = subject.vlm.model(**{key: batch[key] for key in KEYS}, output_hidden_states=True)
    output = subject.vlm(batch)
    assert torch.equal(output.hidden, expected.hidden_states[-1])
    assert torch.equal(output.logits, expected.logits)


@torch.no_grad()
def test_image_features_are_the_tower_s_own_of_the_global_tile(subject):
    vlm, batch = subject.vlm, subject.batch()
    # Tiles are padded with black ones to the largest number of the batch; a picture's last real one is the global tile.
    for row, tiles in enumerate(batch["pixel_values"]):
        real = [tile for tile in tiles if tile.any()]
        mask = torch.ones(1, 12, 12, dtype=torch.bool)
        expected = vlm.model.model.vision_model(real[-1][None], patch_attention_mask=mask).last_hidden_state[0]
        torch.testing.assert_close(vlm.encode_image(batch).sequence[row], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_one_tile_a_picture_is_exactly_the_tower_s():
    subject = Subject(SmolVLM.tiny)
    vlm, batch = subject.vlm, subject.batch()
    assert batch["pixel_values"].shape[1] == 1
    mask = torch.ones(3, 12, 12, dtype=torch.bool)
    tower = vlm.model.model.vision_model(batch["pixel_values"][:, 0], patch_attention_mask=mask)
    assert torch.equal(vlm.encode_image(batch).sequence, tower.last_hidden_state)


def test_splitting_adds_crops_for_the_language_model_to_read():
    picture = [Image.new("RGB", (400, 200))]
    tokens = {}
    for splitting in (False, True):
        vlm = SmolVLM.tiny()
        vlm.configure(image_splitting=splitting, longest_edge=192)
        ids = vlm.preprocess(picture, ["a"])["input_ids"]
        tokens[splitting] = int((ids == vlm.model.config.image_token_id).sum())
    assert tokens[False] == 16
    assert tokens[True] == 16 * (2 * 1 + 1)


def test_a_checkpoint_without_a_template_gets_the_family_s():
    model, processor = tiny_smolvlm()
    assert processor.chat_template is None
    prompts, replies = SmolVLM(model, processor).rows(["Segment it."], ["It is [SEG]."])
    assert prompts == ["User:<image> Segment it.<end_of_utterance>\nAssistant:"]
    assert replies == [" It is [SEG].<end_of_utterance>\n"]


@pytest.mark.parametrize("known", SPEC.checkpoints, ids=lambda known: known.name)
def test_published_checkpoints_have_the_figures_that_are_listed(known):
    path = Path(lisa_smolvlm.__file__).parent / "configs" / f"{known.name.replace('/', '__')}.json"
    config = AutoConfig.for_model(**json.loads(path.read_text()))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == known.parameters
    dims = SmolVLM.dims_of(config)
    assert (dims.vision, dims.text) == (known.vision_dim, known.text_dim)
    assert count_lora_parameters(model, SmolVLM.lora_layers(model), LoraSettings(r=16)) == 3_145_728


def test_a_checkpoint_of_another_family_is_refused_before_it_is_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ConfigError, match=r"llava checkpoint.*idefics3, smolvlm"):
        SmolVLM.from_pretrained(str(tmp_path))
