"""Sentences about a mirrored picture: left and right change places, or there is no sentence that is surely true."""

from __future__ import annotations

import re

from lisa_core.data.augmentation.language import Token, is_foreign, tokens, word_set
from lisa_core.data.augmentation.nouns import noun_at

# What a mirror changes, but for the sides: what can be read, the points of the compass, the clock's hands, mirrors.
_UNMIRRORED = word_set(
    """
    text texts letter letters lettering lettered alphabet word words writing written writes inscription handwriting
    font digit digits numeral numerals number numbers numbered reads says saying spell spells spelled spelling
    labeled labelled label labels logo logos brand sign signs signage signboard billboard caption captioned title
    titled subtitle name names named character characters license licence barcode qr graffiti calligraphy slogan
    page pages headline poster east west eastern western eastward westward northeast northwest southeast southwest
    north south compass map maps clock clocks o'clock oclock clockwise counterclockwise anticlockwise hour hours
    time dial mirror mirrors mirrored mirroring reflection reflections reflected reflects reflecting reversed
    inverted flag flags port starboard driver's passenger's offside nearside asymmetric asymmetrical lefty righty
    southpaw rigth rihgt righ rght ritght rigt lef letf leftt lfet elft rightt righht lft rt lhs rhs
    """
)
_HARMLESS = re.compile(
    r"cleft\w*|(al|up|down|out|forth|a|birth|f|b)right\w*|wright|playwright\w*|shipwright|righteous\w*"
)
_ABBREVIATED = word_set("tv tvs suv atv bmx pc vr dj")
_SIDES = {"left": "right", "right": "left"}
_PAIRS = {
    **_SIDES,
    **{"leftmost": "rightmost", "rightmost": "leftmost"},
    **{"lefthand": "righthand", "righthand": "lefthand", "lefthanded": "righthanded", "righthanded": "lefthanded"},
    **{"leftward": "rightward", "rightward": "leftward", "leftwards": "rightwards", "rightwards": "leftwards"},
}

# What surely makes `left` and `right` sides. Each pattern is matched against the words before, which end at the side,
# or after it, which begin there; marks are words of their own. What no pattern allows is taken for `left over`,
# `right now`, `the right answer`.
_END = r"(?:$|[.,;:?!()] ?)"
_CLAUSE = (
    r"(?:and|or|with|wearing|holding|that|who|which|is|are|has|have|in|on|near|next|behind|beside|by|from|of|looking|"
    r"facing|standing|sitting|lying|parked|under|above|below|closest|between|when|while|as|but)\b"
)
_PLACED = re.compile(
    r"\b(?:on|to|at|from|toward|towards|onto)"
    r"(?: (?:the|its|his|her|their|my|your|our)(?: (?:far|very|extreme|upper|lower|top|bottom|back|front|middle))*"
    r"| (?:far|upper|lower|top|bottom|back|front))? $"
)
_BOTH_SIDES = re.compile(r"(?:top|bottom|upper|lower|uppermost|far|near|rear|outer|inner|extreme|back|front|middle) $")
_PART = re.compile(
    r"(?:hand(?! in hand)(?:ed)?|side(?! (?:up|by))|sided|half|corner|edge|margin|border|quarter|arm(?! in arm)|leg|"
    r"eye|ear|foot|shoulder|knee|elbow|wrist|thigh|ankle|cheek|paw|most|top|bottom|upper|lower)\b"
)
_TURNED = re.compile(
    r"(?:facing|looking|pointing|pointed|leaning|heading|headed|turned|turning|tilted|tilting|moving|walking|running|"
    r"reaching|curving|bent|swimming|flying|faces|looks|points|leans) $"
)
_VERB_BEFORE = re.compile(  # `has left`, `what is left`, `the man who left`
    r"(?:^|\b(?:what|that|who|which|is|are|was|were|be|been|being|has|have|had|having|he|she|they|i|we|it|someone|get|"
    r"gets|got|getting|just|only|not|never|have|all|any|anything|something|nothing|everything|much|little|'s|\w+'s) )$"
)
_REST = re.compile(
    r"\b(?:last|only|any|some|still|remaining|remains|leftover|slices?|pieces?|parts?|bits?|rest|crumbs?|portions?|"
    r"amounts?|bites?|food|much|many|enough|more|time|what|nothing|something)\b"
)
_PLURAL = re.compile(r"(?:[^su]s|people|men|women|children) $")  # of several things, some may be left
_ADVERB_AFTER = re.compile(
    r"(?:now|away|here|there|over|out|off|behind|beside|alone|at|in|into|on|up|down|next|before|after|above|below|under|"
    r"through|by|near|between|open|closed|empty|blank|bare|untouched|unfinished|the|a|an|his|her|their|its|for|to|way|"
    r"angled?|answer|click)\b"
)
_OF = re.compile(r"of (?:the|a|an|his|her|their|its|my|your|this|that|these|those|it|him|them|me|us|center|centre)\b")
_RIGHTS = re.compile(r"(?:the|a|human|legal|civil|all|bill|'s) $")
_DETERMINED = re.compile(r"(?:^|\b(?:the|a|an|his|her|its|their|my|your|'s) )$")
_ATTRIBUTE = word_set(
    "red orange yellow green cyan blue purple pink brown black white grey gray large small big little tall short young "
    "old plain striped dotted checkered wooden metal empty open"
)
_MEMBER = word_set("one ones object thing guy item")


def mirrored(text: str, is_sentence: bool = True) -> str | None:
    """The text about the mirrored picture that says the same as this one does about the picture, or None.

    `left of the ring` becomes `right of the ring`; what names no side stays as it is. None where a mirror changes what
    the text is about (`the letter R`, `3 o'clock`), where `left` or `right` may be no side (`the food left over`), and
    where the text is not surely English.

    Args:
        text: a referring expression, a question or an answer.
        is_sentence: False for a noun phrase, where `right man` is a man on the right and not the proper one.
    """
    found = tokens(text)
    if is_foreign(text) or any(_is_changed(token, text, place, found) for place, token in enumerate(found)):
        return None
    words = [token.word for token in found if token.word != "-"]
    kept = [token for token in found if token.word != "-"]
    pieces, done = [], 0
    for place, token in enumerate(kept):
        if token.word not in _PAIRS:
            if ("left" in token.word or "right" in token.word) and not _HARMLESS.fullmatch(token.word):
                return None
            continue
        if token.word in _SIDES and not _is_side(words, place, is_sentence):
            return None
        pieces += [text[done : token.start], _in_the_case_of(text[token.start : token.end], _PAIRS[token.word])]
        done = token.end
    return "".join([*pieces, text[done:]])


def _is_changed(token: Token, text: str, place: int, found: list[Token]) -> bool:
    """Whether a word is of what a mirror changes otherwise than by its sides."""
    word, written = token.word, text[token.start : token.end]
    if word in _UNMIRRORED or word.removesuffix("'s") in _UNMIRRORED or word in '"“”„«»_<>/\\#':
        return True
    if word[0].isdigit():  # a number may be one to read, unless it counts: the 2nd from the left
        return re.fullmatch(r"\d*(?:1st|2nd|3rd|\dth)", word) is None
    if len(word) == 1 and word.isalpha() and word not in "ai":
        return not (word == "t" and any(later.word.startswith("shirt") for later in found[place + 1 : place + 3]))
    # STOP, NASA: written in the picture
    return len(word) > 1 and written.isupper() and not text.isupper() and word not in _ABBREVIATED


def _is_side(words: list[str], place: int, is_sentence: bool) -> bool:
    """Whether `left` or `right` at this place is surely a side."""
    word = words[place]
    before, after = "".join(f"{w} " for w in words[:place]), " ".join(words[place + 1 :])
    ends, clause = re.match(_END, after) is not None, re.match(_CLAUSE, after) is not None
    part = _PART.match(after) is not None
    in_the = re.search(r"\bin (?:the|its|his|her|their) $", before) is not None
    if _PLACED.search(before) and (ends or clause or part):
        return not re.match(r"of way\b", after)
    if part and (in_the or not _VERB_BEFORE.search(before) or before == ""):
        return True
    verb = _VERB_BEFORE.search(before) is not None and before != ""
    if not verb and _BOTH_SIDES.search(before) and not _ADVERB_AFTER.match(after):
        return True
    if _TURNED.search(before) and (ends or re.match(r"(?:and|with|wearing|while|that|who)\b", after)):
        return True
    rest = word == "left" and (_REST.search(before) is not None or _PLURAL.search(before) is not None)
    if not verb and before and _OF.match(after) and not _RIGHTS.search(before) and not rest:
        return True
    if is_sentence and word == "right":
        return False
    return _before_a_noun(words, place) or (not is_sentence and _ends_a_phrase(words, place))


def _before_a_noun(words: list[str], place: int) -> bool:
    """`left man`, `the right blue bus`: the side of a known thing."""
    if not _DETERMINED.search("".join(f"{w} " for w in words[:place])) or {"for", "to"} & set(words[place:]):
        return False
    next_place = place + 1
    while next_place < len(words) and words[next_place] in _ATTRIBUTE:
        next_place += 1
    return next_place < len(words) and (words[next_place] in _MEMBER or noun_at(words, next_place) is not None)


def _ends_a_phrase(words: list[str], place: int) -> bool:
    """`woman far left`, `right`: a noun phrase that ends in its side."""
    if place + 1 < len(words):
        return False
    noun = noun_at(words, place - 1) if place else None
    if noun is not None and words[place] == "left":
        may_remain = _REST.search(" ".join(words)) or _PLURAL.search(f"{words[place - 1]} ")
        return noun[0].kind != "food" and not may_remain
    return place == 0 or noun is not None or words[place - 1] in _MEMBER


def _in_the_case_of(word: str, other: str) -> str:
    """The other word in capitals where this one is."""
    return other.upper() if word.isupper() else other.capitalize() if word[0].isupper() else other
