"""The English of synthetic scenes: an expression's wordings, and the sentences they are put in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SIDES = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}
"""Axis (0 is x) and direction of each side of the picture."""

OUTERMOST = {"left": "leftmost", "right": "rightmost", "top": "topmost", "bottom": "lowest"}
"""What comes before the noun for the object closest to a side."""

AT_THE_EDGE = {
    "left": "on the far left",
    "right": "on the far right",
    "top": "at the very top",
    "bottom": "at the very bottom",
}
"""What comes after the noun for the same."""

AT_THE_SIDE = {"left": "on the left", "right": "on the right", "top": "at the top", "bottom": "at the bottom"}
"""What comes after the noun when no other such object is in that half."""

RELATIONS = {
    "left": ("left of", "to the left of"),
    "right": ("right of", "to the right of"),
    "top": ("above",),
    "bottom": ("below",),
}
"""What stands between two noun phrases, by the side of the second that the first lies on."""

_NOUN_PHRASES = ("the {}", "{}")
_SENTENCES = (
    "Where is the {}?",
    "Please find the {}.",
    "Can you segment the {}?",
    "Show me the {}.",
    "Point out the {}.",
    "Which one is the {}?",
)


@dataclass(frozen=True)
class Expression:
    """A description that fits one object of a scene."""

    kind: str
    """`attribute`, `superlative`, `position` or `relation`."""
    target: int
    """Index of the object."""
    wordings: tuple[str, ...]
    """Equivalent noun phrases without an article: `leftmost star`, `star on the far left`."""
    weight: float = 1.0
    """How often it is chosen among the expressions that fit."""


def phrase(rng: np.random.Generator, expression: Expression, is_sentence: bool) -> list[str]:
    """One to three different texts that mean the expression, all sentences or all noun phrases."""
    templates = _SENTENCES if is_sentence else _NOUN_PHRASES
    count = int(rng.integers(1, 4))
    texts: dict[str, None] = {}
    for index in rng.permutation(len(templates) * len(expression.wordings)).tolist()[:count]:
        template, wording = divmod(index, len(expression.wordings))
        texts[templates[template].format(expression.wordings[wording])] = None
    return list(texts)


def join_words(words: dict[str, str], noun: str) -> str:
    """Attributes in their English order, with `noun` when no shape is named."""
    ordered = [words[name] for name in ("size", "texture", "colour") if name in words]
    return " ".join([*ordered, words.get("shape", noun)])
