"""The words around a referring expression: one question to the model, and the answer that holds `[SEG]`."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from lisa_core.vlm import SEG_TOKEN

ANSWER = f"It is {SEG_TOKEN}."
PLACEHOLDER = "{seg}"
"""What stands for a mask in the answers of data sets."""


class Dialogue(str):
    """A user turn that comes after others; as a text, the whole of it, for families that know no turns."""

    asked: str
    """The last question."""
    earlier: tuple[tuple[str, str], ...]
    """What was asked and answered before."""
    taught: bool
    """Whether the earlier replies are our own, to be learnt like the last one: a `[SEG]` in them draws a mask."""

    def __new__(cls, asked: str, earlier: Sequence[tuple[str, str]], taught: bool = False) -> Dialogue:
        """Of the last question and what came before."""
        self = super().__new__(cls, "\n".join([*(text for turn in earlier for text in turn), asked]))
        self.asked, self.earlier, self.taught = asked, tuple(earlier), taught
        return self

    def __reduce__(self) -> tuple[type[Dialogue], tuple[str, tuple[tuple[str, str], ...], bool]]:
        """What a copy is made of."""
        return Dialogue, (self.asked, self.earlier, self.taught)


def conversation(turns: Sequence[tuple[str, str]]) -> tuple[str, str]:
    """Questions and answers of our own as one user turn, a `Dialogue` if there are several, and the last answer."""
    *earlier, (asked, reply) = turns
    return (Dialogue(asked, earlier, taught=True) if earlier else asked), reply


_PHRASES = (
    "Segment {}.",
    "Please outline {}.",
    "Can you segment {} in this picture?",
    "Show me {}.",
    "Mark the pixels of {}.",
    "Where is {}? Answer with a mask.",
)
"""Requests around a noun phrase."""
_SENTENCES = (
    "{} Segment it.",
    "{} Answer with a mask.",
    "{} Please mark it in the picture.",
    "{} Show me which part of the picture that is.",
)
"""Requests after a full sentence."""
_EXPLANATORY = (
    "{} Segment it and say why.",
    "{} Mark it in the picture, and explain your choice.",
    "{} Answer with a mask and give your reasons.",
)
"""Requests for a mask with an explanation."""
_ANSWERS = (ANSWER, f"{SEG_TOKEN}.", f"Here it is: {SEG_TOKEN}.", f"Sure, {SEG_TOKEN}.", f"The mask is {SEG_TOKEN}.")
_NOTHING = (
    "There is no such object.",
    "Nothing in this picture fits that.",
    "I cannot find that in the picture.",
)
"""Answers where there is nothing to segment."""


def question(text: str, is_sentence: bool, key: str | None = None, explains: bool = False) -> str:
    """The user turn for a referring expression; full sentences stand as they are, noun phrases are put into one.

    Args:
        text: sentence or noun phrase.
        is_sentence: which of the two.
        key: chooses among several wordings; None: always the same one.
        explains: whether the answer has an explanation that may be asked for.
    """
    if key is None:
        return f"{text} Segment it." if is_sentence else f"Segment {text}."
    if explains and asks_why(key):
        return _chosen(_EXPLANATORY, key, "question").replace("{}", _as_sentence(text, is_sentence))
    return _chosen(_SENTENCES if is_sentence else _PHRASES, key, "question").replace("{}", text)


def answer(explanation: str | None = None, key: str | None = None) -> str:
    """The assistant turn: the mask's token, and the data set's explanation where it has one.

    With a `key`, which chooses among several wordings, the explanation is given only where `question` asks for it.
    """
    if explanation is None:
        return ANSWER if key is None else _chosen(_ANSWERS, key, "answer")
    # One answer, one mask: an explanation that spells the token must not ask for a second.
    explanation = explanation.replace(SEG_TOKEN, SEG_TOKEN.strip("[]"))
    if key is None:
        return f"{ANSWER} {explanation}"
    said = _chosen(_ANSWERS, key, "answer")
    return f"{said} {explanation}" if asks_why(key) else said


def asks_why(key: str) -> bool:
    """Whether the question of this key asks for the explanation, if there is one: every other does."""
    return _number(key, "why") % 2 == 0


def declines(key: str | None) -> bool:
    """Whether the answer of this key says in words that there is no such object, instead of drawing an empty mask.

    Every other does, so that both are learnt: without a key, none.
    """
    return key is not None and _number(key, "nothing") % 2 == 0


def nothing(key: str) -> str:
    """The assistant turn where there is nothing to segment, in words alone."""
    return _chosen(_NOTHING, key, "answer")


def _as_sentence(text: str, is_sentence: bool) -> str:
    return text if is_sentence else f"Where is {text}?"


def _chosen(wordings: Sequence[str], key: str, what: str) -> str:
    return wordings[_number(key, what) % len(wordings)]


def _number(key: str, what: str) -> int:
    """A number that follows from the key, the same on every machine, and another for each thing that is chosen."""
    return int.from_bytes(hashlib.sha256(f"{what}/{key}".encode("utf-8", "surrogatepass")).digest()[:8], "big")


def several_masks(words: str | None, count: int) -> str:
    """The assistant turn with `count` masks: the set's own words with `{seg}` for each, or a plain list.

    Raises:
        ValueError: if the words have another number of places.
    """
    if words is None:
        return ANSWER if count == 1 else f"They are {_listed([SEG_TOKEN] * count)}."
    if words.count(PLACEHOLDER) != count:
        raise ValueError(f"an answer with {words.count(PLACEHOLDER)} places for {count} masks: {words!r}")
    return words.replace(SEG_TOKEN, SEG_TOKEN.strip("[]")).replace(PLACEHOLDER, SEG_TOKEN)


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else words[0]
