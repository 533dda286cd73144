"""What a text says that a changed picture could make untrue: colours, sizes, and where and which of several."""

from __future__ import annotations

import re

from lisa_core.data.augmentation.language import is_foreign, word_set, words

# Parts of words count: darkblue, bluish, unripe. Some take in words that are no colours; these merely stay as they are.
_COLOUR = re.compile(
    r"black|white|grey|gray|orange|yellow|green|blue|bluish|purple|violet|pink|brown|beige|golden|silver|bronze|copper|"
    r"crimson|scarlet|maroon|magenta|turquoise|lavender|blond|brunette|auburn|colou?r|chrom|"
    r"^(?:un|over|under|dis)?(?:redd|cyan|indigo|lilac|mauve|khaki|ivory|charcoal|ebony|amber|emerald|sapphire|ruby|brass|"
    r"shad(?:e|ow|y)|tint|hue|sepia|rust|dark|light|bright|pale|vivid|vibrant|dull|dim|fade|glow|gloss|gloom|shin[ey]|"
    r"shimmer|glitter|gleam|dazzl|lumin|lit$|lit-|sparkl|reflect|transparen|translucen|opa[qc]|tan(?:ned)?$|sun|burn|ripe|"
    r"bleach|dye|stain|rotten|mou?ld|tarnish|contrast|saturat|expos|rainbow|camouflag|neon)"
)
_COLOURS = word_set(
    """
    red reds tan gold rose cream navy teal lime olive aqua peach wine mint plum coral salmon mustard chocolate caramel
    ginger redhead denim jade ochre fuchsia burgundy azure taupe charred toasted raw cooked rare night day daytime dawn
    dusk noon sun moon lamp lamps skin complexion race cloudy overcast foggy hazy clear clearer pigment paint painted
    """
)

_PLACE = word_set(
    """
    left right leftmost rightmost lefthand righthand side sides top bottom upper lower uppermost topmost lowermost
    bottommost up down upward downward upwards downwards above below beneath underneath under over atop high low
    higher lowest highest
    middle mid center centre centered centred central corner corners edge edges border margin front back rear behind
    ahead beside besides besided next near nearest nearer nearby close closer closest far farther farthest further
    furthest distant distance away between among amongst across along opposite adjacent around surrounding surrounded
    inside outside outer inner within beyond by background foreground here there leaning against touching towards toward
    facing pointing horizontal vertical diagonal clockwise east west north south
    """
)
_COUNT = word_set(
    """
    one two three four five six seven eight nine ten eleven twelve dozen both all every each several many few fewer
    multiple single only sole lone alone pair couple trio group row rows column columns line queue stack crowd bunch
    first second third fourth fifth sixth last next previous other others another same different remaining rest
    else either neither no none odd any some most least number count half every
    """
) - frozenset({"one"})
_SIZE = word_set(
    """
    big small large tiny huge little giant gigantic massive enormous mini miniature medium sized size tall short long
    wide narrow broad thin thick fat slim skinny bulky compact
    """
)
_EXTENT = word_set(
    """
    whole entire entirely full fully complete completely partial partially part parts partly visible invisible hidden
    cut cropped cropping off frame framed picture photo photograph image screen view scene shot camera zoom zoomed
    closeup edge edges corner corners border margin far very extreme distance distant close near background foreground
    empty crowded alone fills filling covers covering
    """
)
_DEGREE = word_set(
    "more less most least than compared bigger smaller larger taller shorter longer wider older younger best worst"
)
_NO_DEGREE = word_set(
    """
    forest chest nest vest guest test quest request harvest interest honest breast breasts priest crest protest contest
    pest invest arrest suggest digest modest conquest manifest everest
    """
)


def names_colour(text: str) -> bool:
    """Whether a text speaks of colour, light or a shade of some material, or is not surely English."""
    found = words(text)
    return is_foreign(text) or any(word in _COLOURS or _COLOUR.search(word) for word in found)


def names_size(text: str) -> bool:
    """Whether a text gives an absolute size, `large ring`, or is not surely English."""
    return is_foreign(text) or not _SIZE.isdisjoint(words(text))


def names_place(text: str) -> bool:
    """Whether a text says where something is, in the picture or beside another thing, or is not surely English."""
    return is_foreign(text) or not _PLACE.isdisjoint(words(text))


def names_extent(text: str) -> bool:
    """Whether a text speaks of the picture's borders, or of how much of a thing it shows; or is not surely English."""
    return is_foreign(text) or not _EXTENT.isdisjoint(words(text))


def compares(text: str) -> bool:
    """Whether a text counts things or sets one apart (`largest`, `only`, `2nd`), or is not surely English."""
    found = words(text)
    return (
        is_foreign(text)
        or any(
            word in _COUNT or word in _DEGREE or word[0].isdigit() or (word.endswith("est") and word not in _NO_DEGREE)
            for word in found
        )
        or _counted_ones(found)
    )


def _counted_ones(found: list[str]) -> bool:
    """Whether `one` counts, as it does not in `which one is`."""
    return any(word == "one" and (place == 0 or found[place - 1] != "which") for place, word in enumerate(found))
