from __future__ import annotations

import pytest

from lisa_core.prompts import answer, question
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
