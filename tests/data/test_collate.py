from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lisa_core.build import build_model, sam_size
from lisa_core.clip_llm import ClipLLM
from lisa_core.config import ModelConfig
from lisa_core.data import IGNORE, Example, Sample
from lisa_core.data.collate import Collator, conversations, unique_images
from lisa_core.data.targets import target_raster
from lisa_core.errors import ConfigError
from lisa_core.prompts import declines
from lisa_core.registry import get_registry

RED, BLUE = Image.new("RGB", (48, 32), "red"), Image.new("RGB", (32, 48), "blue")


def example(image: Image.Image, text: str = "the red ring", answer: str | None = None, is_sentence: bool = False):
    mask = np.zeros((image.height, image.width), np.uint8)
    mask[: image.height // 2] = 1
    sample = Sample(f"{text}#0", Path("x.jpg"), Path("x.json"), text, is_sentence, answer)
    return Example(sample, image, mask)


@pytest.fixture(scope="module")
def vlm():
    return ClipLLM.tiny()


def collator(vlm, turns: int = 1, **config) -> Collator:
    model = ModelConfig(vlm="clip-llm", vlm_model_name="tiny", **config)
    return Collator(vlm, model, sam_size(model), turns=turns)


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


@pytest.mark.parametrize(
    ("img_size", "mask_features", "side"),
    [(None, "vlm", 48), (40, "vlm", 20), (None, "sam", 48), (40, "sam", 48), (192, "vlm", 48)],
)
def test_targets_are_no_finer_than_what_is_drawn(img_size, mask_features, side):
    config = ModelConfig(vlm="clip-llm", vlm_model_name="tiny", mask_features=mask_features, img_size=img_size)
    model = build_model(replace(config, fine_features=True))
    batch = Collator(model.vlm, model.config, sam_size(model.config))([example(RED)])
    assert batch["targets"].shape == batch["valid"].shape == (1, side, side)
    assert batch["fine_pixels"].shape == (1, 3, 4 * side, 4 * side)
    drawn = model(batch).mask_logits.shape[-1]
    assert side == min(drawn, 48)


@pytest.mark.parametrize("family", ["llava", "paligemma", "smolvlm", "qwenvl"])
def test_families_say_what_grid_they_have(family):
    vlm = get_registry().load_vlm_class(family).tiny()
    grid = vlm.encode_image(vlm.preprocess([RED, BLUE], ["it", "it"])).grid
    assert vlm.grid_side == (None if vlm.dynamic_grid else grid.shape[-1])


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


def numbered(image: Image.Image, number: int, dataset: str = "") -> Example:
    """An example whose mask is a column of its own."""
    one = example(image, f"ring {number}")
    one.mask = np.zeros_like(one.mask)
    one.mask[:, number] = 1
    return replace(one, sample=replace(one.sample, dataset=dataset))


def absent(image: Image.Image) -> Example:
    """An example whose answer says in words that there is no such object."""
    key = next(f"0/1/2/{number}" for number in range(99) if declines(f"0/1/2/{number}"))
    one = example(image, "the zebra")
    return replace(one, sample=replace(one.sample, no_target=True), mask=np.zeros_like(one.mask), wording=key)


def replies_of(vlm, batch, row: int) -> str:
    labels = batch["labels"][row]
    return vlm.tokenizer.decode(labels[labels >= 0])


def test_sentences_of_a_picture_are_turns_of_one_conversation(vlm):
    examples = [numbered(RED, 0), several(RED, 2), numbered(RED, 1), numbered(BLUE, 2), absent(BLUE), numbered(BLUE, 3)]
    batch = collator(vlm, turns=3)(examples)
    assert batch["image_index"].tolist() == [0, 1] and batch["pixel_values"].shape[0] == 2
    assert batch["turns"].tolist() == [3, 3] and batch["seg_row"].tolist() == [0, 0, 0, 0, 1, 1]
    assert batch["sample_ids"] == [one.sample.id for one in examples] and batch["datasets"] == ["", ""]
    # The k-th [SEG] of a row draws its k-th target.
    found = (batch["input_ids"] == vlm.seg_token_id).nonzero()[:, 0]
    assert found.tolist() == batch["seg_row"].tolist()
    masks = [examples[0].mask, *(examples[1].masks or []), examples[2].mask, examples[3].mask, examples[5].mask]
    size = batch["targets"].shape[-1]
    for target, valid, mask in zip(batch["targets"], batch["valid"], masks, strict=True):
        assert torch.equal(target, target_raster(mask, size)[0]) and torch.equal(valid, target_raster(mask, size)[1])
    # Questions in their order, each before its reply, and every reply is learnt.
    text = vlm.tokenizer.decode(batch["input_ids"][0][batch["attention_mask"][0].bool()])
    order = ["ring 0", "It is [SEG].", "Which?", "These: ring 0 [SEG] and ring 1 [SEG].", "ring 1.", "It is [SEG]."]
    place = 0
    for words in order:
        place = text.index(words, place) + len(words)
    assert replies_of(vlm, batch, 0).count("</s>") == 3
    assert replies_of(vlm, batch, 0).count("[SEG]") == 4 and replies_of(vlm, batch, 1).count("[SEG]") == 2
    declined = replies_of(vlm, batch, 1).split("</s>")[1]
    assert declined and "[SEG]" not in declined and "zebra" not in replies_of(vlm, batch, 1)


def test_one_turn_a_row_is_what_a_batch_was_without_turns(vlm):
    examples = [numbered(RED, 0), wordy(RED), numbered(BLUE, 1), absent(BLUE)]
    one, other = collator(vlm)(examples), collator(vlm, turns=2)(examples[:3])
    assert one["turns"].tolist() == [1, 1, 1, 1] and other["turns"].tolist() == [1, 1, 1]
    assert torch.equal(collator(vlm)(examples[:3])["input_ids"], other["input_ids"])
    late = collator(vlm, turns=4, fusion="late")(examples[2:])
    assert late["turns"].tolist() == [1, 1] and late["seg_row"].tolist() == [0, 1]


def test_only_sentences_of_one_picture_and_dataset_with_masks_share_a_conversation(vlm):
    def with_earlier(one: Example) -> Example:
        return replace(one, earlier=[("Is it blue?", "No.")])

    examples = [
        *(numbered(RED, 0, "a"), numbered(RED, 1, "a"), numbered(RED, 2, "b"), wordy(RED), numbered(RED, 3)),
        *(with_earlier(numbered(RED, 4)), numbered(RED, 5), numbered(BLUE, 6), numbered(RED, 7), numbered(RED, 8)),
        *(numbered(RED, 9), numbered(RED, 10), numbered(RED, 11)),
    ]
    batch = collator(vlm, turns=4)(examples)
    assert batch["turns"].tolist() == [2, 1, 1, 1, 1, 1, 1, 4, 1]
    assert batch["image_index"].tolist() == [0, 0, 0, 0, 0, 0, 1, 0, 0]
    assert batch["datasets"] == ["a", "b", "", "", "", "", "", "", ""]
    assert batch["seg_row"].tolist() == [0, 0, 1, 3, 4, 5, 6, 7, 7, 7, 7, 8]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), st.booleans(), st.sampled_from("ab")), max_size=12), st.integers(1, 4))
def test_rows_hold_all_examples_in_order_and_are_as_long_as_they_may(drawn, turns):
    examples = [
        replace(one, sample=replace(one.sample, dataset=dataset))
        for image, words, dataset in drawn
        for one in [wordy(RED) if words else example((RED, BLUE)[image])]
    ]
    index = [image for image, _, _ in drawn]
    rows = conversations(examples, index, turns)
    assert [id(one) for _, row in rows for one in row] == [id(one) for one in examples]
    assert [image for image, row in rows for _ in row] == index
    kinds = [(image, row[0].sample.kind, row[0].sample.dataset) for image, row in rows]
    for kind, (_, row) in zip(kinds, rows):
        assert {(one.sample.kind, one.sample.dataset) for one in row} == {kind[1:]}
        assert len(row) <= (1 if kind[1] == "text" else turns)
    for kind, following, (_, row) in zip(kinds, kinds[1:], rows):
        assert kind != following or kind[1] == "text" or len(row) == turns


@pytest.mark.parametrize("word", ["[SEG]", "</s>", "<pad>"])
def test_a_special_token_that_a_user_spells_is_only_words_in_every_turn(vlm, word):
    asked = [example(RED, f"the {word} ring", f"So it is {word}!"), example(RED, f"{word}?", is_sentence=True)]
    clean = [example(RED, "the ring", "So it is!"), example(RED, "?", is_sentence=True)]
    batch, expected = (collator(vlm, turns=2)(examples) for examples in (asked, clean))
    token = vlm.tokenizer.convert_tokens_to_ids(word)
    counts = [((b["input_ids"] == token) & b["attention_mask"].bool()).sum().item() for b in (batch, expected)]
    assert counts[0] == counts[1] and batch["turns"].tolist() == [2]
    assert batch["seg_row"].tolist() == [0, 0] and (batch["labels"] == vlm.seg_token_id).sum() == 2
    assert vlm.tokenizer.decode(batch["input_ids"][0]).count(word.strip("[]<>")) == counts[0] + 3


def test_what_evaluation_asks_of_a_collator_knows_no_turns(vlm):
    one, other = (
        collator(vlm, turns=turns).inputs([RED], ["Segment it.", "Segment that."], ["It is [SEG]."] * 2, [0, 0])
        for turns in (1, 4)
    )
    assert len(one["input_ids"]) == 2
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_a_family_that_knows_no_turns_is_refused_and_one_that_only_says_it_does_is_found_out(vlm):
    class Flat(ClipLLM):
        def preprocess(self, images, questions, *args, **kwargs):
            return super().preprocess(images, [str(asked) for asked in questions], *args, **kwargs)

    class Silent(Flat):
        knows_turns = False

    with pytest.raises(ConfigError, match="--vlm clip-llm knows no conversations: leave --turns 2 out"):
        collator(Silent.tiny(), turns=2)
    assert collator(Silent.tiny())([numbered(RED, 0), numbered(RED, 1)])["turns"].tolist() == [1, 1]
    pair = [numbered(RED, 0), numbered(RED, 1)]
    with pytest.raises(ConfigError, match="does not teach every turn"):
        collator(Flat.tiny(), turns=2)(pair)
