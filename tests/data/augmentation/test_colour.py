from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from lisa_core.data.augmentation.colour import colour


def test_the_picture_changes_and_nothing_else_does(about):
    before = about("the dog", "the striped cat")
    after = colour(before, Random(0)) or []
    assert after[0].image is after[1].image and after[0].image.tobytes() != before[0].image.tobytes()
    assert all(np.array_equal(one.mask, other.mask) for one, other in zip(before, after))
    assert [other.sample for other in after] == [one.sample for one in before]


def test_another_draw_is_another_change(about):
    seen = {(colour(about("the dog"), Random(seed)) or [])[0].image.tobytes() for seed in range(10)}
    assert len(seen) == 10


@pytest.mark.parametrize("text", ["the red dog", "the darker one", "the ripe fruit", "the silver car", "perro rojo"])
def test_it_is_off_when_one_text_names_a_colour_or_a_shade(about, text):
    assert colour(about("the cat", text), Random(0)) is None


def test_it_is_off_when_an_answer_does(about):
    (example,) = about("Which one may I eat?")
    example.sample = replace(example.sample, answer="The banana, as it is yellow.")
    assert colour([example], Random(0)) is None
