from __future__ import annotations

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.prompts import (
    Dialogue,
    answer,
    asks_why,
    conversation,
    declines,
    nothing,
    question,
    several_masks,
)
from lisa_core.vlm import SEG_TOKEN


def test_a_noun_phrase_is_put_into_a_request_and_a_sentence_keeps_its_words() -> None:
    assert question("the red ring", is_sentence=False) == "Segment the red ring."
    sentence = "Where would one sit?"
    assert question(sentence, is_sentence=True).startswith(sentence)


@pytest.mark.parametrize("is_sentence", [False, True])
@pytest.mark.parametrize("text", ["the red ring", "Where would one sit?", ""])
def test_a_question_holds_the_text_and_no_mask_token(text: str, is_sentence: bool) -> None:
    asked = question(text, is_sentence)
    assert text in asked and SEG_TOKEN not in asked


def test_each_answer_holds_one_mask_token_and_ends_with_the_explanation() -> None:
    assert answer().count(SEG_TOKEN) == 1
    explained = answer("The chair, as one can sit on it.")
    assert explained.count(SEG_TOKEN) == 1
    assert explained.startswith(answer()) and explained.endswith(" The chair, as one can sit on it.")


def test_an_answer_with_several_masks_keeps_the_set_s_words_in_their_order() -> None:
    assert several_masks("A dog {seg}, and its ball {seg}.", 2) == f"A dog {SEG_TOKEN}, and its ball {SEG_TOKEN}."
    assert several_masks(None, 3) == f"They are {SEG_TOKEN}, {SEG_TOKEN} and {SEG_TOKEN}."
    assert several_masks(None, 1) == answer()
    # What spells the token in the set's words draws nothing.
    assert several_masks(f"{SEG_TOKEN} is a dog {{seg}}.", 1).count(SEG_TOKEN) == 1


@pytest.mark.parametrize(("words", "count"), [("a {seg}", 2), ("a", 1), ("{seg} {seg}", 1)])
def test_an_answer_with_another_number_of_places_is_a_mistake(words: str, count: int) -> None:
    with pytest.raises(ValueError, match="places for"):
        several_masks(words, count)


KEYS = [f"0/1/2/{number}" for number in range(200)]


@given(st.text(), st.booleans(), st.booleans(), st.text())
def test_any_wording_holds_the_text_whole_and_no_mask_token(
    text: str, is_sentence: bool, explains: bool, key: str
) -> None:
    asked = question(text, is_sentence, key, explains)
    assert text in asked and len(asked) > len(text) and asked == question(text, is_sentence, key, explains)
    assert SEG_TOKEN in text or SEG_TOKEN not in asked


def test_wordings_are_many_and_each_answer_holds_one_mask_token() -> None:
    for is_sentence, most in ((False, 6), (True, 4)):
        assert len({question("x", is_sentence, key) for key in KEYS}) == most
    answers = {answer(key=key) for key in KEYS}
    assert len(answers) >= 4 and all(said.count(SEG_TOKEN) == 1 for said in answers)
    assert answer() in answers


def test_an_explanation_is_given_where_it_is_asked_for_and_only_there() -> None:
    asking = [key for key in KEYS if asks_why(key)]
    assert 0.3 < len(asking) / len(KEYS) < 0.7
    for key in KEYS:
        said = answer(f"One can sit on it, {SEG_TOKEN}.", key)
        assert ("sit on it" in said) == asks_why(key) and said.count(SEG_TOKEN) == 1
        asked = question("Where would one sit?", True, key, explains=True)
        assert any(word in asked for word in ("why", "explain", "reasons")) == asks_why(key)
        assert question("the chair", False, key, explains=True).startswith("Where is the chair?") or not asks_why(key)


def test_what_is_not_there_is_said_in_words_every_other_time() -> None:
    declined = [key for key in KEYS if declines(key)]
    assert 0.3 < len(declined) / len(KEYS) < 0.7 and not declines(None)
    assert len({nothing(key) for key in declined}) == 3 and all(SEG_TOKEN not in nothing(key) for key in KEYS)


@pytest.mark.parametrize("taught", [False, True])
@pytest.mark.parametrize(
    "copied", [copy.copy, copy.deepcopy, lambda said: pickle.loads(pickle.dumps(said))], ids=["copy", "deep", "pickle"]
)
def test_a_dialogue_is_copied_whole(copied, taught: bool) -> None:
    said = Dialogue("And how many?", [("What is it?", "A ring."), ("Red?", "No.")], taught)
    other = copied(said)
    assert type(other) is Dialogue and other == said
    assert (other.asked, other.earlier, other.taught) == (said.asked, said.earlier, taught)


def test_one_turn_is_no_dialogue_and_of_several_the_last_is_what_is_asked() -> None:
    assert conversation([("a", "b")]) == ("a", "b") and type(conversation([("a", "b")])[0]) is str
    asked, reply = conversation([("a", "b"), ("c", "d"), ("e", "f")])
    assert isinstance(asked, Dialogue) and asked.taught and reply == "f"
    assert (asked.asked, asked.earlier) == ("e", (("a", "b"), ("c", "d")))
