from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from lisa_core.build import sam_size
from lisa_core.clip_llm import ClipLLM
from lisa_core.config import ModelConfig
from lisa_core.data import IGNORE, Example, Sample
from lisa_core.data.collate import Collator, target_raster, unique_images
from lisa_core.prompts import declines

RED, BLUE = Image.new("RGB", (48, 32), "red"), Image.new("RGB", (32, 48), "blue")


def example(image: Image.Image, text: str = "the red ring", answer: str | None = None, is_sentence: bool = False):
    mask = np.zeros((image.height, image.width), np.uint8)
    mask[: image.height // 2] = 1
    sample = Sample(f"{text}#0", Path("x.jpg"), Path("x.json"), text, is_sentence, answer)
    return Example(sample, image, mask)


@pytest.fixture(scope="module")
def vlm():
    return ClipLLM.tiny()


def collator(vlm, **config) -> Collator:
    model = ModelConfig(vlm="clip-llm", vlm_model_name="tiny", **config)
    return Collator(vlm, model, sam_size(model))


def area_shares(mask: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The raster by counting, cell by cell, the pixels that a cell touches."""
    target, valid = np.zeros((size, size)), np.zeros((size, size))
    bounds = [[(i * side // size, -(-(i + 1) * side // size)) for i in range(size)] for side in mask.shape]
    for row, (top, bottom) in enumerate(bounds[0]):
        for column, (left, right) in enumerate(bounds[1]):
            cell = mask[top:bottom, left:right]
            counted = (cell != IGNORE).sum()
            valid[row, column] = counted / cell.size
            target[row, column] = (cell == 1).sum() / counted if counted else 0
    return target, valid


@settings(max_examples=60, deadline=None)
@given(
    arrays.arrays(
        np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.sampled_from([0, 1, IGNORE])
    ),
    st.integers(1, 12),
)
def test_the_raster_is_the_share_of_each_cell(mask, size):
    target, valid = target_raster(mask, size)
    expected_target, expected_valid = area_shares(mask, size)
    assert target.shape == valid.shape == (size, size) and target.dtype == valid.dtype == torch.float32
    np.testing.assert_allclose(target.numpy(), expected_target, atol=1e-5)
    np.testing.assert_allclose(valid.numpy(), expected_valid, atol=1e-6)


@pytest.mark.parametrize("shape", [(512, 256), (256, 768), (128, 256)])
def test_the_raster_keeps_areas_and_places_of_a_mask_it_divides(shape):
    mask = np.zeros(shape, np.uint8)
    height, width = shape
    mask[: height // 4, width // 2 :] = 1
    mask[height // 2 :] = IGNORE
    target, valid = target_raster(mask, 64)
    expected = torch.zeros(64, 64)
    expected[:16, 32:] = 1
    assert torch.equal(target, expected)
    assert (valid[:32] == 1).all() and (valid[32:] == 0).all()


def test_equal_pictures_are_one_and_the_order_is_kept():
    again = RED.copy()
    images, index = unique_images([example(RED), example(BLUE), example(again), example(BLUE)])
    assert [image.size for image in images] == [RED.size, BLUE.size]
    assert index == [0, 1, 0, 1]


def test_pictures_of_equal_bytes_and_different_shape_are_two():
    images, index = unique_images([example(Image.new("RGB", (48, 32))), example(Image.new("RGB", (32, 48)))])
    assert len(images) == 2 and index == [0, 1]


def test_a_batch_holds_the_inputs_the_targets_and_the_ids(vlm):
    examples = [example(RED), example(BLUE, "Is it blue?", "Yes.", is_sentence=True), example(RED, "it")]
    batch = collator(vlm)(examples)
    assert batch["pixel_values"].shape[0] == 2 and batch["image_index"].tolist() == [0, 1, 0]
    assert batch["targets"].shape == batch["valid"].shape and batch["targets"].ndim == 3
    upper, lower = batch["targets"].chunk(2, dim=1)
    assert (upper == 1).all() and (lower == 0).all() and (batch["valid"] == 1).all()
    assert batch["sample_ids"] == ["the red ring#0", "Is it blue?#0", "it#0"]
    rows = [vlm.tokenizer.decode(ids[mask.bool()]) for ids, mask in zip(batch["input_ids"], batch["attention_mask"])]
    assert "Segment the red ring." in rows[0] and "Is it blue? " in rows[1] and "Segment it." in rows[2]
    answers = [vlm.tokenizer.decode(ids[labels != -100]) for ids, labels in zip(batch["input_ids"], batch["labels"])]
    assert all(text.count("[SEG]") == 1 for text in answers)
    assert "Yes." in answers[1] and "Yes." not in answers[0]


def test_the_configuration_decides_what_a_batch_holds(vlm):
    joint, late = collator(vlm)([example(RED)]), collator(vlm, fusion="late")([example(RED)])
    assert {"input_ids", "labels", "text_input_ids"} <= joint.keys()
    assert "input_ids" not in late and {"text_input_ids", "text_attention_mask"} <= late.keys()
    assert "sam_pixels" not in joint
    sam = collator(vlm, mask_features="sam")([example(RED), example(BLUE), example(RED)])
    assert sam["sam_pixels"].shape == (2, 3, 96, 96)
    assert sam["sam_content"][0].tolist() == [0, 0, 1, pytest.approx(32 / 48)]
    assert sam["sam_content"][1].tolist() == [0, 0, pytest.approx(32 / 48), 1]


def test_without_answers_there_is_nothing_to_learn(vlm):
    batch = collator(vlm).inputs([RED], ["Segment it."], None, [0])
    assert (batch["labels"] == -100).all() and "targets" not in batch


@pytest.mark.parametrize("word", ["[SEG]", "</s>", "<pad>"])
def test_a_special_token_among_the_words_is_only_words(vlm, word):
    """Else a sentence with `[SEG]` in it would draw two masks, and shift those of the sentences after it."""
    examples = [example(RED, f"the {word} ring", f"So it is {word}!"), example(RED, "it")]
    batch = collator(vlm)(examples)
    clean = collator(vlm)([example(RED, "the ring", "So it is!"), example(RED, "it")])
    token = vlm.tokenizer.convert_tokens_to_ids(word)
    for key in ("input_ids", "text_input_ids"):
        mask = key.replace("input_ids", "attention_mask")
        counts, expected = (((b[key] == token) & b[mask].bool()).sum(1).tolist() for b in (batch, clean))
        assert counts == expected
    assert word.strip("[]<>") in vlm.tokenizer.decode(batch["text_input_ids"][0])


def test_special_tokens_of_any_tokenizer_are_broken_up():
    """A family's image placeholder too: a processor would look for a second picture to put there."""
    from lisa_core.text import plain_words
    from lisa_core.tiny import tiny_tokenizer

    tokenizer = tiny_tokenizer(["<image>", "<|image_pad|>"])
    text = plain_words(tokenizer, "a <image> of <|image_pad|> and <imag>, <<image>image>")
    special = set(tokenizer.all_special_ids)
    assert special and not special & set(tokenizer(text)["input_ids"])
    assert plain_words(tokenizer, "what [a] <b> c") == "what [a] <b> c"
    assert plain_words(SimpleNamespace(added_tokens_decoder={}), "<image>") == "<image>"


def wordy(image: Image.Image, earlier: tuple = ()) -> Example:
    sample = Sample("vqa#0", Path("x.jpg"), Path("x.json"), "What is it?", True, "A red ring.", kind="text")
    return Example(sample, image, np.full((image.height, image.width), IGNORE, np.uint8), earlier=earlier)


def several(image: Image.Image, count: int = 2) -> Example:
    masks = [np.zeros((image.height, image.width), np.uint8) for _ in range(count)]
    for number, mask in enumerate(masks):
        mask[number] = 1
    words = " and ".join(f"ring {number} {{seg}}" for number in range(count))
    sample = Sample("muse#0", Path("x.jpg"), Path("x.json"), "Which?", True, f"These: {words}.", kind="masks")
    return Example(sample, image, np.maximum.reduce(masks), masks)


def test_targets_belong_to_the_rows_whose_answers_draw_them(vlm):
    examples = [wordy(RED), several(RED, 3), example(BLUE), wordy(BLUE)]
    batch = collator(vlm)(examples)
    assert batch["seg_row"].tolist() == [1, 1, 1, 2] and len(batch["targets"]) == len(batch["valid"]) == 4
    found = (batch["input_ids"] == vlm.seg_token_id).nonzero()[:, 0]
    assert found.tolist() == batch["seg_row"].tolist()
    size = batch["targets"].shape[-1]
    for target, mask in zip(batch["targets"], [*(examples[1].masks or []), examples[2].mask]):
        assert torch.equal(target, target_raster(mask, size)[0])
    labelled = [vlm.tokenizer.decode(ids[ids >= 0]) for ids in batch["labels"]]
    assert "red ring" in labelled[0] and "[SEG]" not in labelled[0] and labelled[1].count("[SEG]") == 3
    # Without a mask there is an empty stack, not none.
    none = collator(vlm)([wordy(RED)])
    assert none["targets"].shape == (0, size, size) and none["seg_row"].shape == (0,)


def test_with_late_fusion_the_target_of_several_masks_is_their_union(vlm):
    one = several(RED)
    batch = collator(vlm, fusion="late")([one])
    assert torch.equal(batch["targets"][0], target_raster(one.mask, batch["targets"].shape[-1])[0])
    assert batch["seg_row"].tolist() == [0]


def test_what_was_said_before_is_read_and_not_learnt(vlm):
    batch = collator(vlm)([wordy(RED, (("Is it blue?", "It is not blue."),))])
    ids, labels = batch["input_ids"][0], batch["labels"][0]
    assert "not blue" in vlm.tokenizer.decode(ids) and "What is it?" in vlm.tokenizer.decode(ids)
    assert "blue" not in vlm.tokenizer.decode(ids[labels >= 0])


def test_what_is_not_there_is_said_in_words_where_the_wording_says_so(vlm):
    absent = example(RED)
    absent.sample, absent.mask = replace(absent.sample, no_target=True), np.zeros_like(absent.mask)
    keys = [f"0/1/2/{number}" for number in range(12)]
    batch = collator(vlm)([replace(absent, wording=key) for key in keys])
    drawing = [row for row, key in enumerate(keys) if not declines(key)]
    assert batch["seg_row"].tolist() == drawing and 0 < len(drawing) < len(keys)
    assert (batch["input_ids"] == vlm.seg_token_id).nonzero()[:, 0].tolist() == drawing
    # The fixed wording draws an empty mask, late fusion always does, and a target that is there is never declined.
    assert collator(vlm)([absent])["seg_row"].tolist() == [0]
    assert len(collator(vlm, fusion="late")([replace(absent, wording=key) for key in keys])["targets"]) == len(keys)
    assert len(collator(vlm)([replace(example(RED), wording=key) for key in keys])["targets"]) == len(keys)
