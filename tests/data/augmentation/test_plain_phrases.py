from __future__ import annotations

import pytest

from lisa_core.data.augmentation.nouns import MAY_SHOW, NOUNS, may_stand_beside
from lisa_core.data.augmentation.plain_phrases import plain_noun
from lisa_core.data.shapes import SHAPES
from lisa_core.data.wording import _NOUN_PHRASES, _SENTENCES

from .conftest import phrases


@pytest.mark.parametrize("template", [*_NOUN_PHRASES, *_SENTENCES])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_question_about_a_shape_is_plain(template, shape):
    for words in (shape, f"red {shape}", f"dotted blue {shape}"):
        assert plain_noun(template.format(words)) is NOUNS[shape]


@pytest.mark.parametrize(
    ("text", "thing"), [("dogs", "dog"), ("a puppy", "dog"), ("hot dogs", "hot dog"), ("buses", "car")]
)
def test_nouns_stand_for_their_class(text, thing):
    found = plain_noun(text)
    assert found is not None and found.thing == thing


@pytest.mark.parametrize(
    "text",
    ["", *phrases("animal|the red thing|something to drink from|dog next to the cat|dog of the man|wheel|the dog bed")],
)
def test_what_may_be_many_things_is_not_plain(text):
    assert plain_noun(text) is None


@pytest.mark.parametrize(
    ("pasted", "named", "may"),
    [
        ("dog", "cat", True),
        ("star", "heart", True),
        ("pizza", "person", True),
        ("bus", "dog", True),
        ("dog", "puppy", False),  # one kind of the other
        ("ring", "circle", False),
        ("bus", "person", False),  # there is a driver
        ("person", "dog", False),  # may hold one
        ("pizza", "circle", False),  # is one
        ("star", "dog", False),
        ("wall", "dog", False),
    ],
)
def test_what_may_be_taken_for_the_named_thing_is_not_pasted(pasted, named, may):
    assert may_stand_beside(NOUNS[pasted], NOUNS[named]) is may


def test_kinds_are_those_there_are():
    kinds = {noun.kind for noun in NOUNS.values()}
    assert set(MAY_SHOW) <= kinds and set().union(*MAY_SHOW.values()) <= kinds
