from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lisa_core.data import IGNORE, Example, Sample
from lisa_core.data.augmentation import mirrored
from lisa_core.data.augmentation.flip import flip
from lisa_core.data.expressions import position_expressions, relation_expressions
from lisa_core.data.scenes import Scene, sample_scene


@st.composite
def pictures(draw) -> Example:
    width, height = draw(st.integers(1, 9)), draw(st.integers(1, 9))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    image = Image.fromarray(rng.integers(0, 256, (height, width, 3)).astype(np.uint8))
    mask = rng.choice(np.array([0, 1, IGNORE], np.uint8), (height, width))
    return Example(Sample("a#0", None, None, "left of the ring", False), image, mask)  # type: ignore[arg-type]


@given(pictures())
def test_twice_is_the_identity_and_once_moves_each_pixel_to_its_place(example):
    example.sample = replace(example.sample, text="the star on the left")
    (once,) = flip([example]) or []
    assert np.array_equal(np.asarray(once.image), np.asarray(example.image)[:, ::-1])
    assert np.array_equal(once.mask, example.mask[:, ::-1]) and once.mask.dtype == np.uint8
    assert once.sample.text == "the star on the right" and once.sample.id == example.sample.id
    (twice,) = flip([once]) or []
    assert twice.image.tobytes() == example.image.tobytes()
    assert np.array_equal(twice.mask, example.mask) and twice.sample == example.sample


def test_all_sentences_of_a_picture_are_mirrored_or_none(about):
    both = about("the leftmost star", "the ring on the far right")
    assert [example.sample.text for example in flip(both) or []] == ["the rightmost star", "the ring on the far left"]
    assert flip(about("the leftmost star", "the food left over")) is None


def test_answers_are_mirrored_too(about):
    (example,) = about("Which cup is mine?")
    example.sample = replace(example.sample, answer="The cup on the left, beside the plate.")
    (after,) = flip([example]) or []
    assert after.sample.answer == "The cup on the right, beside the plate."
    assert after.sample.text == "Which cup is mine?"
    example.sample = replace(example.sample, answer="The one that says STOP.")
    assert flip([example]) is None


@pytest.mark.parametrize("find", [position_expressions, relation_expressions])
def test_what_is_true_of_the_places_in_a_scene_is_true_of_its_mirror_image(find):
    """The words are held against the masks: each mirrored expression is one that the mirrored scene itself gives."""
    sides = 0
    for seed in range(30):
        scene = sample_scene(np.random.default_rng(seed), 64, 3, 4)
        mirror = Scene(scene.image[:, ::-1], scene.objects, scene.masks[:, :, ::-1], scene.full_areas)
        said = {(found.target, text) for found in find(scene) for text in found.wordings}
        true = {(found.target, text) for found in find(mirror) for text in found.wordings}
        assert {(target, mirrored(text, is_sentence=False)) for target, text in said} == true
        sides += sum("left" in text or "right" in text for _, text in said)
    assert sides > 100
