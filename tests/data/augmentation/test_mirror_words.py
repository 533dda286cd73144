from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.data.augmentation import mirrored
from lisa_core.data.wording import _NOUN_PHRASES, _SENTENCES, AT_THE_EDGE, AT_THE_SIDE, OUTERMOST, RELATIONS

from .conftest import phrases

OPPOSITE = {"left": "right", "right": "left", "top": "top", "bottom": "bottom"}


@pytest.mark.parametrize("side", OPPOSITE)
@pytest.mark.parametrize("template", [*_NOUN_PHRASES, *_SENTENCES])
def test_every_place_that_scenes_speak_of_gets_its_opposite(side, template):
    wordings = [f"{OUTERMOST[side]} {{}}", f"{{}} {AT_THE_EDGE[side]}", f"{{}} {AT_THE_SIDE[side]}"]
    opposite = OPPOSITE[side]
    expected = [f"{OUTERMOST[opposite]} {{}}", f"{{}} {AT_THE_EDGE[opposite]}", f"{{}} {AT_THE_SIDE[opposite]}"]
    wordings += [f"{{}} {words} the yellow cross" for words in RELATIONS[side]]
    expected += [f"{{}} {words} the yellow cross" for words in RELATIONS[opposite]]
    for noun in ("object", "thing", "star", "green thing"):
        for wording, other in zip(wordings, expected):
            text, after = template.format(wording.format(noun)), template.format(other.format(noun))
            assert mirrored(text, template in _SENTENCES) == after


@pytest.mark.parametrize(
    ("text", "after"),
    [
        ("left", "right"),
        ("Left", "Right"),
        ("LEFT GUY", "RIGHT GUY"),
        ("right man", "left man"),
        ("the left blue bus", "the right blue bus"),
        ("the right one", "the left one"),
        ("woman far left", "woman far right"),
        ("man right", "man left"),
        ("second zebra from the left", "second zebra from the right"),
        ("2nd from right", "2nd from left"),
        ("bottom-left corner", "bottom-right corner"),
        ("top right zebra", "top left zebra"),
        ("the woman's arm on her right side", "the woman's arm on her left side"),
        ("left-hand cup", "right-hand cup"),
        ("her left hand", "her right hand"),
        ("the left-handed batter", "the right-handed batter"),
        ("left most car", "right most car"),
        ("person facing left", "person facing right"),
        ("dog on the right next to the left chair", "dog on the left next to the right chair"),
        ("the cup on the right behind the plate", "the cup on the left behind the plate"),
        ("the boy in the left corner", "the boy in the right corner"),
        ("café on the left", "café on the right"),
    ],
)
def test_sides_of_noun_phrases_change_places(text, after):
    assert mirrored(text, is_sentence=False) == after
    assert mirrored(after, is_sentence=False) == text


@pytest.mark.parametrize(
    ("text", "after"),
    [
        (
            "It is the cup to the left of the plate, on the far right.",
            "It is the cup to the right of the plate, on the far left.",
        ),
        ("Which is the left person?", "Which is the right person?"),
        ("Where is the dog that is on the right?", "Where is the dog that is on the left?"),
        ("What could I drink from?", "What could I drink from?"),
        ("Is the bright lamp above the upright chair?", "Is the bright lamp above the upright chair?"),
    ],
)
def test_sides_of_sentences_change_places(text, after):
    assert mirrored(text) == after


NO_SIDE = """
What food is left over?|the food left|the last slice left of the pizza|pizza left|what is left of the cake
the person who left the room|the man in the back left the room|the cat left alone|he left his bag on the right
the mug that is left of the plate|right now|the right answer|Which is the right tool?|Which is the right person for it?
man right behind the car|guy right next to dog|the person right in front|looking right at the camera|right side up
the drawer with the top left open|toys left side by side|the couple left hand in hand|cookies left of the batch|men left
right of way|the right of the people|the man on the right track|It is a dog, right?|a right angle|all right
"""
CHANGED_BY_MIRRORS = """
the letter R|the sign that says stop|the bus with number 23|bus 23|3 people|the word on the wall|jersey 7|clock
the hand at 3 o'clock|the eastern door|the house to the west|the man in the mirror|her reflection|the driver's side
the STOP sign|a label on the left|"left"|left/right|the logo on the right|player L|the flag on the left
"""
FOREIGN = """
der linke Hund|Hund links|le chien à gauche|la personne de droite|el perro de la izquierda|左边的狗|собака слева
il cane a sinistra|lé left|de hond rechts|vasen koira|kanan|the dog auf der left
"""
MISTYPED = "the rigth man|leftt|man on the rght|lft guy|rt|overleft dog|leftish"


@pytest.mark.parametrize("is_sentence", [True, False])
@pytest.mark.parametrize(
    "text",
    [text for texts in (NO_SIDE, CHANGED_BY_MIRRORS, FOREIGN, MISTYPED) for text in phrases(texts)],
)
def test_what_is_not_surely_the_same_in_a_mirror_has_no_words_there(text, is_sentence):
    assert mirrored(text, is_sentence) is None


@given(
    st.lists(
        st.sampled_from(
            phrases(
                "left|right|Left|the|on|of|to|man|star|far|top|hand|side|over|now|bright|leftmost|from|in|-|,|?|is|cup"
            )
        ),
        max_size=9,
    ),
    st.booleans(),
)
def test_mirroring_twice_gives_the_text_back_and_changes_sides_only(words, is_sentence):
    text = " ".join(words)
    after = mirrored(text, is_sentence)
    if after is None:
        return
    swap = {"left": "right", "right": "left", "leftmost": "rightmost"}
    assert after.lower().split() == [swap.get(word, word) for word in text.lower().split()]
    assert mirrored(after, is_sentence) in (text, None)
