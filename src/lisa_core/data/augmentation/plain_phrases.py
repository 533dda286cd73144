"""Texts that name a thing and nothing else: `Where is the striped star?`."""

from __future__ import annotations

from lisa_core.data.augmentation.language import word_set, words
from lisa_core.data.augmentation.nouns import Noun, noun_at

_AROUND = word_set(
    """
    a an the this that please find where is are can could would you segment show me point out which one what locate
    outline highlight mark it i see in picture image photo photograph scene
    """
)
_ATTRIBUTES = word_set(
    """
    red yellow green cyan blue purple pink brown black white grey gray beige dark light bright pale golden silver
    plain striped dotted checkered spotted wooden metal metallic plastic leather woolen paper stone brick old young new
    sitting standing lying walking running sleeping flying
    """
)


def plain_noun(text: str) -> Noun | None:
    """The thing that a text names if it says nothing that is not known here, or None.

    Only of such a text is it sure that no other thing, put into the picture, makes it ambiguous: what is `used to cut`,
    or `beside the cup`, can be many things.
    """
    found = words(text)
    noun, place = None, 0
    while place < len(found):
        named = noun_at(found, place)
        if named is not None and noun is None:
            noun, count = named
            place += count
        elif found[place] in _AROUND or (
            found[place] in _ATTRIBUTES and (noun is None or found[place].endswith("ing"))
        ):
            place += 1
        else:
            return None
    return noun
