from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lisa_core.tiny import tiny_tokenizer

TOKENIZER = tiny_tokenizer(["<image>", "<row_1_col_2>"])


def test_it_is_the_same_every_time() -> None:
    first, second = (tiny_tokenizer(["<image>"]).backend_tokenizer.to_str() for _ in range(2))
    assert first == second


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("der naïve 熊 q̃ \u200d\ufeff 👩‍🚀")
@example(" two  blanks , a comma ' s and n't \r\n\t\0")
@example("<s> <pad> <image>[SEG]")
def test_any_text_comes_back_whole(text: str) -> None:
    assert TOKENIZER.decode(TOKENIZER(text)["input_ids"]) == text


def test_the_words_of_referring_expressions_are_one_token_each() -> None:
    text = "segment the largest striped red circle left of the small blue triangle"
    pieces = TOKENIZER.convert_ids_to_tokens(TOKENIZER(f" {text}")["input_ids"])
    assert pieces == [f"Ġ{word}" for word in text.split()]
    for word in ("Segment", "the", "The", "leftmost"):  # at the start of a text no blank stands before a word
        assert len(TOKENIZER(word)["input_ids"]) == 1


def test_special_tokens_are_one_id_each() -> None:
    ids = TOKENIZER("<row_1_col_2><image><image></s>")["input_ids"]
    assert TOKENIZER.convert_ids_to_tokens(ids) == ["<row_1_col_2>", "<image>", "<image>", "</s>"]


def test_it_is_small_and_pads_on_the_right() -> None:
    assert len(TOKENIZER) < 4096
    rows = TOKENIZER(["red", "the red ring"], padding=True)
    assert rows["attention_mask"][0] == [1, 0, 0]
    assert rows["input_ids"][0][1:] == [TOKENIZER.pad_token_id] * 2
    assert TOKENIZER.pad_token_id != TOKENIZER.eos_token_id


@pytest.mark.parametrize("name", ["pad", "bos", "eos"])
def test_it_has_the_tokens_a_language_model_needs(name: str) -> None:
    token = getattr(TOKENIZER, f"{name}_token")
    assert TOKENIZER(token)["input_ids"] == [getattr(TOKENIZER, f"{name}_token_id")]
