from __future__ import annotations

import pytest

from lisa_core.data.augmentation.claims import compares, names_colour, names_extent, names_place, names_size
from lisa_core.data.shapes import COLOURS
from lisa_core.data.wording import AT_THE_EDGE, AT_THE_SIDE, OUTERMOST, RELATIONS

from .conftest import phrases

PLAIN = ["dog", "the striped star", "Where is the person wearing a hat?", "Which one is the forest?", "sliced bread"]
ALL = {"colour": names_colour, "size": names_size, "place": names_place, "extent": names_extent, "compares": compares}


@pytest.mark.parametrize("text", PLAIN)
def test_a_plain_phrase_claims_nothing(text):
    assert [name for name, claims in ALL.items() if claims(text)] == []


@pytest.mark.parametrize("text", ["der Hund", "le chien", "狗", "pies na trawie obok domu"])
def test_what_is_not_surely_english_may_claim_anything(text):
    assert all(claims(text) for claims in ALL.values())


COLOURED = """
Bluish cup|darkgreen car|light-blue door|the blonde woman|man in a dark shirt|the shiny car|pale skin
a golden retriever|the unripe banana|rusty nail|the coloured one|in the shadow|BLACK CAT|redhead
the wooden chair of walnut brown|lamp that is lit|transparent glass|the brightest star|coche rojo
"""


@pytest.mark.parametrize("text", [*phrases(COLOURED), *(f"the {colour} ring" for colour in COLOURS)])
def test_colours_shades_and_light_are_told(text):
    assert names_colour(text)


@pytest.mark.parametrize("words", [*OUTERMOST.values(), *AT_THE_EDGE.values(), *AT_THE_SIDE.values()])
def test_places_are_told(words):
    assert names_place(f"star {words}")


@pytest.mark.parametrize(
    "words", [words for both in RELATIONS.values() for words in both] + ["next to", "behind", "by"]
)
def test_relations_are_told(words):
    assert names_place(f"star {words} the cross")


COMPARED = """
largest star|the biggest|smallest dog|only dog|two dogs|3 dogs|2nd dog|third dog|all dogs|every dog
the other dog|the oldest man|one dog|the last bus|taller than the boy|a pair of shoes|no dog
"""


@pytest.mark.parametrize("text", phrases(COMPARED))
def test_numbers_orders_and_comparisons_are_told(text):
    assert compares(text)


def test_sizes_and_extents_are_told():
    assert all(map(names_size, ["large ring", "the tiny dog", "a Big bus"]))
    assert all(map(names_extent, ["the whole bus", "dog at the edge", "cropped car", "the person in the background"]))
