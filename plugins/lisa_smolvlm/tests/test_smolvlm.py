from __future__ import annotations

import pytest
import torch
from PIL import Image
from transformers import (
    AutoProcessor,
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    Idefics3ImageProcessor,
    Idefics3Processor,
)

from lisa_core import SEG_TOKEN, ConfigError
from lisa_core.testing import misplaced_cells
from lisa_smolvlm.vlm import SmolVLM

QUESTIONS = ["Segment the red circle.", "Segment the zany wombat on the far left, please.", "Segment it."]
ANSWERS = [f"It is {SEG_TOKEN}."] * 3


@pytest.fixture(scope="module")
def vlm():
    torch.manual_seed(0)
    return SmolVLM.tiny().eval()


def idefics3(splitting: bool) -> SmolVLM:
    """The Idefics3 classes around the tiny SmolVLM's shapes, with or without image splitting."""
    torch.manual_seed(0)
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
    return SmolVLM(Idefics3ForConditionalGeneration(config), processor).eval()


@pytest.fixture(scope="module")
def pictures():
    noise = torch.randint(0, 255, (3, 90, 160, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return [Image.fromarray(picture.numpy()) for picture in noise]


@pytest.mark.parametrize("size", [(96, 96), (320, 180), (150, 300)])
def test_the_grid_lies_on_the_whole_picture(vlm, size):
    assert misplaced_cells(vlm, size, (6, 6)) == []


@pytest.mark.parametrize("splitting", [False, True])
@pytest.mark.parametrize("size", [(200, 200), (400, 225)])
def test_idefics3_s_grid_lies_on_the_whole_picture_with_and_without_splitting(splitting, size):
    assert misplaced_cells(idefics3(splitting), size) == []


@torch.no_grad()
@pytest.mark.parametrize("splitting", [False, True])
def test_pictures_of_different_tile_counts_share_a_batch(splitting):
    vlm = idefics3(splitting)
    pictures = [Image.new("RGB", (400, 225), "red"), Image.new("RGB", (100, 90), "blue")]
    together = vlm.encode_image(vlm.preprocess(pictures, QUESTIONS[:2])).grid
    for row, picture in enumerate(pictures):
        alone = vlm.encode_image(vlm.preprocess([picture], QUESTIONS[:1])).grid
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_dims_are_those_of_the_tensors(vlm, pictures):
    batch = vlm.preprocess(pictures, QUESTIONS, ANSWERS)
    features, text, output = vlm.encode_image(batch), vlm.encode_text(batch), vlm(batch)
    assert features.sequence.shape == (3, 144, vlm.dims.vision)
    assert features.grid.shape == (3, vlm.dims.vision, 12, 12)
    assert torch.equal(features.grid.flatten(2).transpose(1, 2), features.sequence)
    assert text.shape == (*batch["text_input_ids"].shape, vlm.dims.text)
    assert output.hidden.shape == (*batch["input_ids"].shape, vlm.dims.text)


@torch.no_grad()
def test_hidden_states_and_logits_are_those_of_a_plain_transformers_call(vlm, pictures):
    batch = vlm.preprocess(pictures, QUESTIONS, ANSWERS)
    keys = ("input_ids", "attention_mask", "pixel_values", "pixel_attention_mask")
    expected = vlm.model(**{key: batch[key] for key in keys}, output_hidden_states=True)
    output = vlm(batch)
    assert torch.equal(output.hidden, expected.hidden_states[-1])
    assert torch.equal(output.logits, expected.logits)


@torch.no_grad()
def test_every_key_of_the_processor_is_in_the_batch(vlm, pictures):
    chat = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": QUESTIONS[0]}]}]
    prompt = vlm.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    plain = vlm.processor(text=[prompt], images=[[pictures[0]]], return_tensors="pt")
    batch = vlm.preprocess(pictures[:1], QUESTIONS[:1])
    for key, value in plain.items():
        assert torch.equal(batch[key], value), key


@torch.no_grad()
def test_padding_changes_nothing(vlm, pictures):
    together = vlm.preprocess(pictures, QUESTIONS, ANSWERS)
    alone = vlm.preprocess(pictures[:1], QUESTIONS[:1], ANSWERS[:1])
    length, text_length = alone["input_ids"].shape[1], alone["text_input_ids"].shape[1]
    assert together["input_ids"].shape[1] > length
    torch.testing.assert_close(vlm(together).hidden[0, :length], vlm(alone).hidden[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(
        vlm.encode_text(together)[0, :text_length], vlm.encode_text(alone)[0], atol=1e-5, rtol=1e-4
    )


@torch.no_grad()
def test_sentences_about_one_picture_share_its_encoding(vlm, pictures):
    shared = vlm.preprocess(pictures[:2], QUESTIONS, ANSWERS, image_index=[1, 0, 1])
    repeated = vlm.preprocess([pictures[1], pictures[0], pictures[1]], QUESTIONS, ANSWERS)
    assert len(shared["pixel_values"]) == 2
    torch.testing.assert_close(vlm(shared).hidden, vlm(repeated).hidden, atol=1e-5, rtol=1e-4)


def test_seg_is_one_token_and_only_the_answer_is_labelled(vlm, pictures):
    batch = vlm.preprocess(pictures, QUESTIONS, ANSWERS)
    assert ((batch["input_ids"] == vlm.seg_token_id).sum(1) == 1).all()
    for row in range(3):
        labelled = vlm.tokenizer.decode(batch["input_ids"][row][batch["labels"][row] != -100])
        assert SEG_TOKEN in labelled
        assert "Segment" not in labelled


def test_a_question_that_spells_special_tokens_is_only_words(vlm, pictures):
    plain = vlm.preprocess(pictures[:1], ["Segment it."], ANSWERS[:1])
    odd = vlm.preprocess(pictures[:1], [f"Segment {SEG_TOKEN} <image> <end_of_utterance> it."], ANSWERS[:1])
    for token in (SEG_TOKEN, "<image>", "<end_of_utterance>"):
        number = vlm.tokenizer.convert_tokens_to_ids(token)
        assert (odd["input_ids"] == number).sum() == (plain["input_ids"] == number).sum() > 0


def test_words_the_tokenizer_never_saw_survive_it(vlm):
    text = "der naïve 熊 q̃"
    ids = vlm.tokenizer(text)["input_ids"]
    assert vlm.tokenizer.decode(ids) == text


@torch.no_grad()
def test_generation_s_tokens_are_what_one_forward_over_them_predicts(vlm, pictures):
    batch = vlm.preprocess(pictures, QUESTIONS)
    for row, ids in enumerate(vlm.generate(batch, max_new_tokens=5)):
        start = int(batch["attention_mask"][row].sum())
        assert torch.equal(ids[:start], batch["input_ids"][row, :start])
        whole = {
            **{key: batch[key] for key in ("pixel_values", "pixel_attention_mask")},
            "image_index": torch.tensor([row]),
            "input_ids": ids[None],
            "attention_mask": torch.ones_like(ids)[None],
        }
        assert torch.equal(vlm(whole).logits[0, start - 1 : -1].argmax(-1), ids[start:])


@torch.no_grad()
@pytest.mark.parametrize("build", [SmolVLM.tiny, lambda: idefics3(True)])
def test_a_local_folder_loads_by_the_code_that_loads_from_the_hub(build, pictures, tmp_path):
    vlm = build().eval()
    vlm.model.save_pretrained(tmp_path)
    vlm.processor.save_pretrained(tmp_path)
    loaded = SmolVLM.from_pretrained(str(tmp_path)).eval()
    assert type(loaded.model) is type(vlm.model)
    assert type(AutoProcessor.from_pretrained(tmp_path)) is type(vlm.processor)
    batch, again = (model.preprocess(pictures, QUESTIONS, ANSWERS) for model in (vlm, loaded))
    assert all(torch.equal(batch[key], again[key]) for key in batch)
    assert torch.equal(vlm(batch).hidden, loaded(again).hidden)


def test_a_checkpoint_of_another_family_is_refused_before_it_is_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    with pytest.raises(ConfigError, match=r"llava checkpoint.*idefics3, smolvlm"):
        SmolVLM.from_pretrained(str(tmp_path))
