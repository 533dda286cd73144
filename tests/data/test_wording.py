from __future__ import annotations

from collections import Counter

import numpy as np

from lisa_core.data.wording import Expression, join_words, phrase


def test_phrasings_are_different_and_of_one_form() -> None:
    expression = Expression("position", 0, ("leftmost star", "star on the far left"))
    counts: Counter[int] = Counter()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        nouns, sentences = phrase(rng, expression, False), phrase(rng, expression, True)
        counts[len(sentences)] += 1
        assert len(set(nouns)) == len(nouns) and len(set(sentences)) == len(sentences)
        assert not any(text.endswith((".", "?")) for text in nouns)
        assert all(text.endswith((".", "?")) and text[0].isupper() for text in sentences)
    assert set(counts) == {1, 2, 3}


def test_attributes_come_in_english_order() -> None:
    words = {"shape": "star", "colour": "blue", "texture": "striped", "size": "large"}
    assert join_words(words, "object") == "large striped blue star"
    assert join_words({"colour": "green"}, "thing") == "green thing"
