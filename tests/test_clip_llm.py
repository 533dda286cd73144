from __future__ import annotations

import pytest
import torch
from PIL import Image
from tokenizers import processors
from transformers import CLIPConfig, CLIPModel

from lisa_core.clip_llm import ClipLLM
from lisa_core.errors import ConfigError
from lisa_core.testing import misplaced_cells
from lisa_core.vlm import SEG_TOKEN

QUESTIONS = ["Segment the red circle.", "Segment the zany wombat on the far left, please.", "Segment it."]
ANSWERS = [f"It is {SEG_TOKEN}."] * 3


@pytest.fixture(scope="module")
def vlm():
    torch.manual_seed(0)
    return ClipLLM.tiny().eval()


@pytest.fixture(scope="module")
def pictures():
    noise = torch.randint(0, 255, (3, 90, 160, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return [Image.fromarray(picture.numpy()) for picture in noise]


@pytest.mark.parametrize("size", [(96, 96), (320, 180), (150, 300)])
def test_the_grid_lies_on_the_whole_picture(vlm, size):
    assert misplaced_cells(vlm, size, (6, 6)) == []


@torch.no_grad()
def test_dims_are_those_of_the_tensors(vlm, pictures):
    batch = vlm.preprocess(pictures, QUESTIONS, ANSWERS)
    features, text, output = vlm.encode_image(batch), vlm.encode_text(batch), vlm(batch)
    assert features.sequence.shape == (3, 144, vlm.dims.vision)
    assert features.grid.shape == (3, vlm.dims.vision, 12, 12)
    assert torch.equal(features.grid.flatten(2).transpose(1, 2), features.sequence)
    assert text.shape == (*batch["text_input_ids"].shape, vlm.dims.text)
    assert output.hidden.shape == (*batch["input_ids"].shape, vlm.dims.text)
    assert output.logits.shape[:2] == batch["input_ids"].shape


@torch.no_grad()
def test_the_sequence_is_the_tower_s_own_without_the_class_token(vlm, pictures):
    batch = vlm.preprocess(pictures, QUESTIONS)
    expected = vlm.vision(pixel_values=batch["pixel_values"]).last_hidden_state[:, 1:]
    assert torch.equal(vlm.encode_image(batch).sequence, expected)


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
        labelled = batch["input_ids"][row][batch["labels"][row] != -100]
        text = vlm.tokenizer.decode(labelled)
        assert SEG_TOKEN in text
        assert "Segment" not in text
        assert torch.equal(labelled, batch["labels"][row][batch["labels"][row] != -100])


def test_the_beginning_of_text_token_stands_once(pictures):
    torch.manual_seed(0)
    for template in (None, "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% endfor %}"):
        model = ClipLLM.tiny()
        bos = model.tokenizer.bos_token
        model.tokenizer._tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, model.tokenizer.bos_token_id)]
        )
        if template:
            model.tokenizer.chat_template = template
        batch = model.preprocess(pictures[:1], QUESTIONS[:1], ANSWERS[:1])
        assert (batch["input_ids"] == model.tokenizer.bos_token_id).sum() == 1


@torch.no_grad()
def test_generation_s_tokens_are_what_one_forward_over_them_predicts(vlm, pictures):
    batch = vlm.preprocess(pictures, QUESTIONS)
    for row, ids in enumerate(vlm.generate(batch, max_new_tokens=5)):
        start = int(batch["attention_mask"][row].sum())
        assert torch.equal(ids[:start], batch["input_ids"][row, :start])
        whole = {
            "image_index": torch.tensor([row]),
            "pixel_values": batch["pixel_values"],
            "input_ids": ids[None],
            "attention_mask": torch.ones_like(ids)[None],
        }
        assert torch.equal(vlm(whole).logits[0, start - 1 : -1].argmax(-1), ids[start:])


@torch.no_grad()
def test_both_halves_load_from_local_folders_by_the_code_that_loads_from_the_hub(vlm, pictures, tmp_path):
    # The vision half of a full CLIP checkpoint, as `openai/clip-vit-base-patch16` is one.
    text = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    clip = CLIPModel(CLIPConfig(vision_config=vlm.vision.config.to_dict(), text_config=text, projection_dim=16))
    clip.vision_model.load_state_dict(vlm.vision.state_dict(), strict=True)
    clip.save_pretrained(tmp_path / "clip")
    vlm.image_processor.save_pretrained(tmp_path / "clip")
    vlm.language.save_pretrained(tmp_path / "llm")
    vlm.tokenizer.save_pretrained(tmp_path / "llm")
    loaded = ClipLLM.from_pretrained(f"{tmp_path / 'clip'}+{tmp_path / 'llm'}").eval()
    loaded.projector.load_state_dict(vlm.projector.state_dict())
    batch, again = (model.preprocess(pictures, QUESTIONS, ANSWERS) for model in (vlm, loaded))
    assert torch.equal(batch["input_ids"], again["input_ids"])
    assert torch.equal(vlm(batch).hidden, loaded(again).hidden)


def test_what_cannot_be_loaded_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match="--image-encoder-model-name"):
        ClipLLM.from_pretrained("openai/clip-vit-base-patch16")
    with pytest.raises(ConfigError, match="cannot load"):
        ClipLLM.from_pretrained(f"{tmp_path}+{tmp_path}")
