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


TILES = {"smolvlm": [1, 1, 1], "smolvlm split": [5, 3, 3], "idefics3": [1, 1, 1], "idefics3 split": [5, 3, 3]}


def subject_of(name: str) -> Subject:
    """A subject whose pictures are cut into different numbers of tiles, where they are cut at all."""
    subject = Subject(BUILDERS[name])
    shapes = ((96, 96), (160, 80), (75, 150))
    subject.pictures = [picture.resize(shape) for picture, shape in zip(subject.pictures, shapes)]
    return subject


class TestSmolVLM(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return "smolvlm"


@pytest.mark.slow
class TestSmolVLMSplit(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return subject_of("smolvlm split")


@pytest.mark.slow
class TestIdefics3Split(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return subject_of("idefics3 split")


@pytest.mark.slow
class TestIdefics3(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return lambda: idefics3(False)


@pytest.fixture(scope="module", params=BUILDERS)
def subject(request):
    return subject_of(request.param)


@torch.no_grad()
def test_hidden_states_and_logits_are_those_of_a_plain_transformers_call(subject):
    batch = subject.batch()
    expected = subject.vlm.model(**{key: batch[key] for key in KEYS}, output_hidden_states=True)
    output = subject.vlm(batch)
    assert torch.equal(output.hidden, expected.hidden_states[-1])
    assert torch.equal(output.logits, expected.logits)


@torch.no_grad()
@pytest.mark.parametrize("name", BUILDERS)
def test_image_features_are_the_tower_s_own_of_the_global_tile(name):
    subject = subject_of(name)
    vlm, batch = subject.vlm, subject.batch()
    # Pictures with fewer tiles are padded with all-zero ones; the last real tile shows the whole picture.
    real = batch["pixel_values"].flatten(2).any(-1)
    assert real.sum(1).tolist() == TILES[name]
    tiles = batch["pixel_values"][real]
    mask = torch.ones(len(tiles), 12, 12, dtype=torch.bool)
    tower = vlm.model.model.vision_model(tiles, patch_attention_mask=mask).last_hidden_state
    assert torch.equal(vlm.encode_image(batch).sequence, tower[real.sum(1).cumsum(0) - 1])


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


def test_options_that_are_not_given_leave_what_the_checkpoint_says():
    vlm = smolvlm_split()
    vlm.configure(image_splitting=None, longest_edge=None)
    images = vlm.processor.image_processor
    assert images.do_image_splitting and images.size["longest_edge"] == 192


def test_a_size_that_needs_more_crops_than_the_tokenizer_has_names_for_is_refused():
    vlm = SmolVLM.tiny()
    vlm.configure(image_splitting=True, longest_edge=576)
    batch = vlm.preprocess([Image.new("RGB", (300, 300))], ["a"])
    last = vlm.tokenizer.convert_tokens_to_ids("<row_6_col_6>")
    assert (batch["input_ids"] == last).sum() == 1
    with pytest.raises(ConfigError, match=r"longest_edge=577 .* at most 576$"):
        vlm.configure(image_splitting=True, longest_edge=577)
    with pytest.raises(ConfigError, match="longest_edge=0 is no size"):
        vlm.configure(longest_edge=0)
    vlm.configure(image_splitting=False, longest_edge=577)  # without crops there is nothing to name


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
