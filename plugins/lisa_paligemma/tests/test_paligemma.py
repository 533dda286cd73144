from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

import lisa_paligemma
from lisa_core import SEG_TOKEN, ConfigError
from lisa_core.build import sam_size
from lisa_core.config import ModelConfig
from lisa_core.data.collate import Collator
from lisa_core.lora import LoraSettings, count_lora_parameters
from lisa_core.testing import Subject, VLMSuite
from lisa_core.testing.subject import ANSWERS, QUESTIONS
from lisa_paligemma.tiny import tiny_paligemma, tiny_paligemma2
from lisa_paligemma.vlm import PaliGemma

(SPEC,) = lisa_paligemma.lisa_vlms()
BUILDERS = {"1": tiny_paligemma, "2": tiny_paligemma2}
KEYS = ("input_ids", "attention_mask", "token_type_ids", "pixel_values")


class TestPaliGemma(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return "paligemma"


@pytest.mark.slow
class TestPaliGemma2(VLMSuite):
    @pytest.fixture(scope="class")
    def adapter(self):
        return lambda: PaliGemma(*tiny_paligemma2())


@pytest.fixture(scope="module", params=BUILDERS)
def subject(request):
    return Subject(lambda: PaliGemma(*BUILDERS[request.param]()))


@torch.no_grad()
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("answered", [False, True])
def test_hidden_states_and_logits_are_those_of_a_plain_transformers_call(subject, training, answered):
    vlm = subject.fresh().train(training)
    batch = subject.batch(vlm=vlm) if answered else subject.batch(answers=None, vlm=vlm)
    expected = vlm.model(**{key: batch[key] for key in KEYS}, output_hidden_states=True)
    output = vlm(batch)
    assert torch.equal(output.hidden, expected.hidden_states[-1])
    assert torch.equal(output.logits, expected.logits)


@torch.no_grad()
def test_picture_and_question_are_read_as_one_and_the_answer_in_order(subject):
    vlm, batch = subject.vlm, subject.batch()
    kinds = batch["token_type_ids"]
    for row, ids in enumerate(batch["input_ids"]):
        suffix = vlm.tokenizer.decode(ids[kinds[row] == 1])
        assert suffix == f"It is {SEG_TOKEN}.{vlm.tokenizer.eos_token}"
        prefix = vlm.tokenizer.decode(ids[(kinds[row] == 0) & batch["attention_mask"][row].bool()])
        assert prefix.endswith("\n") and prefix.count("<image>") == 144 and vlm.tokenizer.bos_token in prefix
    assert not subject.batch(answers=None)["token_type_ids"].any()
    dropped = {key: value for key, value in batch.items() if key != "token_type_ids"}
    change = (vlm(batch).hidden - vlm(dropped).hidden)[batch["attention_mask"].bool()]
    assert change.abs().max() > 0.1


def test_rows_and_labels_are_those_the_processor_makes_of_prefix_and_suffix(subject):
    expected = subject.vlm.processor(
        text=[f"<image>{question}" for question in QUESTIONS],
        images=[[picture] for picture in subject.pictures],
        suffix=list(ANSWERS),
        padding=True,
        return_tensors="pt",
    )
    batch = subject.batch()
    for key in (*KEYS, "labels"):
        assert torch.equal(batch[key], expected[key]), key


@torch.no_grad()
def test_image_features_are_the_tower_s_own(subject):
    vlm, batch = subject.vlm, subject.batch()
    expected = vlm.model.model.vision_tower(batch["pixel_values"]).last_hidden_state
    assert torch.equal(vlm.encode_image(batch).sequence, expected)


@torch.no_grad()
@pytest.mark.parametrize("text_type, attention", [("gemma", "sdpa"), ("gemma2", "eager")])
def test_saving_and_loading_again_and_again_changes_nothing(tmp_path, text_type, attention):
    """The processor adds 1152 tokens to its tokenizer whenever it is built; Gemma 2 caps scores, which sdpa cannot."""
    subject = Subject(lambda: PaliGemma(*tiny_paligemma(text_type)))
    vlm, batch = subject.vlm, subject.batch()
    expected, size = vlm(batch).hidden, len(vlm.tokenizer)
    loaded: PaliGemma = vlm
    for folder in (tmp_path / "first", tmp_path / "second"):
        loaded = PaliGemma.from_pretrained(loaded.save_pretrained(folder)).eval()
        assert (len(loaded.tokenizer), loaded.seg_token_id) == (size, vlm.seg_token_id)
        assert torch.equal(loaded(subject.batch(vlm=loaded)).hidden, expected)
    vlm.save_config(tmp_path / "config")
    for model in (vlm, loaded, PaliGemma.from_config(tmp_path / "config")):
        assert model.model.model.language_model.config._attn_implementation == attention


@pytest.mark.parametrize("known", SPEC.checkpoints, ids=lambda known: known.name)
def test_published_checkpoints_have_the_figures_that_are_listed(known):
    path = Path(lisa_paligemma.__file__).parent / "configs" / f"{known.name.replace('/', '__')}.json"
    config = AutoConfig.for_model(**json.loads(path.read_text()))
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == known.parameters
    dims = PaliGemma.dims_of(config)
    assert (dims.vision, dims.text) == (known.vision_dim, known.text_dim)
    assert count_lora_parameters(model, PaliGemma.lora_layers(model), LoraSettings(r=16)) == 1_843_200


def test_a_checkpoint_of_another_family_is_refused_before_it_is_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ConfigError, match=r"llava checkpoint.*paligemma"):
        PaliGemma.from_pretrained(str(tmp_path))


def test_it_knows_no_turns():
    vlm = PaliGemma.tiny()
    config = ModelConfig(vlm="paligemma", vlm_model_name="tiny")
    with pytest.raises(ConfigError, match="--vlm paligemma knows no conversations"):
        Collator(vlm, config, sam_size(config), turns=2)
