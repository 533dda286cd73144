"""Descriptions that are true of exactly one object of a scene, whatever an object or the photograph might be called.

A name counts for an object when it surely fits; against it, every object counts that anybody might call so, hidden ones
too, and whatever the photograph itself shows. Where a comparison is close, there is no expression.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from view import Kind, Thing, View

_LIVING = ("animal", "mammal", "bird", "fish", "insect", "rodent", "person", "flower", "plant", "tree")
_MADE = ("toy", "tool", "vehicle", "aircraft", "spacecraft", "ball", "sign", "musical instrument")
CATEGORIES = frozenset((*_LIVING, *_MADE, "fruit", "vegetable", "food", "planet"))
"""Names of broad kinds; all others are nouns of their own."""

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey")

POSITION_MARGIN = 0.10
"""Shares of the picture's side between the centres of the outermost object and the next one, whose end on that side
does not lie farther out either: a tall neighbour makes it anybody's guess which one is at the top."""

RELATION_MARGIN = 0.12
"""Shares of the picture's side between an object and the one its place is told by."""

RELATION_SLANT = 0.7
"""How far aside it lies at most, in shares of how far it lies in the relation's direction."""

CLEARLY_NOT = 0.03
"""Shares of the picture's side by which a rival's centre must lie in the other direction."""

SIZE_RATIO = 1.7
"""Factor between the areas of the largest object and the next one."""

LENGTH_RATIO = 1.15
"""The same between their diagonals: of a long thin object and a short thick one neither is plainly the larger."""

LEAST_COVERED = 0.06
"""Share of the lower object that the higher one covers, for `behind` and `in front of`."""

_NO_COUNT = frozenset({"food"})  # there is no larger food
_NARROW_WORDS = frozenset({"bird", "fish", "sign", "fruit"})  # categories that other adjectives than colours go with
_SIDES = {"left": (0, -1), "right": (0, 1), "top": (1, -1), "bottom": (1, 1)}  # axis (0 is x) and direction
_OF_TWO = {
    "left": ("left {}", "{} on the left"),
    "right": ("right {}", "{} on the right"),
    "top": ("upper {}", "{} at the top"),
    "bottom": ("lower {}", "{} at the bottom"),
}
_OF_MANY = {
    "left": ("leftmost {}", "{} on the far left"),
    "right": ("rightmost {}", "{} on the far right"),
    "top": ("topmost {}", "{} at the very top"),
    "bottom": ("lowest {}", "{} at the very bottom"),
}
_SIZES = {1: (("larger {}", "bigger {}"), ("largest {}", "biggest {}")), -1: (("smaller {}",), ("smallest {}",))}
_RELATIONS = {
    "left": ("{} to the left of the {}", "{} left of the {}"),
    "right": ("{} to the right of the {}", "{} right of the {}"),
    "top": ("{} above the {}",),
    "bottom": ("{} below the {}",),
    "behind": ("{} behind the {}", "{} partly hidden by the {}"),
    "front": ("{} in front of the {}",),
}
_WITH_RIVALS = 4.0  # how much likelier an expression is whose words are all needed
_KNOWN = 3.0  # how much likelier one is whose nouns were trained on
# Set so that each kind comes out at a tenth to a quarter, but for sizes (a twentieth), which seldom differ plainly:
# some hold by luck alone, relations nearly always.
_KIND_WEIGHTS: dict[Kind, float] = {
    "noun": 1.4, "category": 2.0, "attribute": 2.6, "position": 0.7, "size": 2.0, "relation": 1.2
}  # fmt: skip


@dataclass(frozen=True)
class Expression:
    """A description that fits one object of a scene."""

    kind: Kind
    target: int
    """Index of the object."""
    phrases: tuple[str, ...]
    """Equivalent noun phrases without an article: `left duck`, `duck on the left`."""
    name: str
    """The noun the target is called by."""
    detail: str | None = None
    """Adjective, side, `larger` or `smaller`, or relation."""
    anchor: int | None = None
    """Index of the object a relation refers to."""
    anchor_name: str | None = None
    """Its noun."""
    rivals: int = 0
    """Other objects that the noun alone might mean."""

    @property
    def nouns(self) -> frozenset[str]:
        """The nouns of its phrases."""
        return frozenset({self.name, self.anchor_name or self.name})


def expressions(view: View) -> Iterator[Expression]:
    """Every expression for every object that shows enough."""
    for target in view.askable():
        yield from _by_name(view, target)
        yield from _by_attribute(view, target)
        yield from _by_position(view, target)
        yield from _by_size(view, target)
        yield from _by_relation(view, target)


def choose(
    rng: np.random.Generator, view: View, wanted: int, known: frozenset[str] | None = None, kinds_each: int = 1
) -> list[list[Expression]]:
    """Expressions for up to `wanted` objects, of up to `kinds_each` kinds for each of them.

    Kinds are mixed; `known` nouns are taken rather than others.
    """
    found: dict[int, dict[Kind, list[Expression]]] = {}
    for expression in expressions(view):
        found.setdefault(expression.target, {}).setdefault(expression.kind, []).append(expression)
    targets = sorted(found)
    chosen = []
    for index in rng.permutation(len(targets)).tolist()[:wanted]:
        kinds = found[targets[index]]
        weights = {kind: [_weight(expression, known) for expression in members] for kind, members in kinds.items()}
        names = sorted(kinds)
        said: list[Expression] = []
        while names and len(said) < kinds_each:
            kind = names.pop(_pick(rng, [_KIND_WEIGHTS[name] * max(weights[name]) for name in names]))
            said.append(kinds[kind][_pick(rng, weights[kind])])
        chosen.append(said)
    return chosen


def _weight(expression: Expression, known: frozenset[str] | None) -> float:
    """How often it is chosen among others."""
    weight = _WITH_RIVALS if expression.rivals else 1.0
    return weight * (_KNOWN if known is None or expression.nouns <= known else 1.0)


def _pick(rng: np.random.Generator, weights: Sequence[float]) -> int:
    shares = np.asarray(weights, dtype=np.float64)
    return int(rng.choice(len(shares), p=shares / shares.sum()))


def _by_name(view: View, target: int) -> Iterator[Expression]:
    for name in view.things[target].words.names:
        if view.called(name) == [target] and name not in view.background:
            yield Expression("category" if name in CATEGORIES else "noun", target, (name,), name)


def _by_attribute(view: View, target: int) -> Iterator[Expression]:
    words = view.things[target].words
    for name in words.names:
        if name in view.background or name in _NO_COUNT:
            continue
        others = [i for i in view.called(name) if i != target]
        for adjective in (*words.colours, *words.attributes):
            fits = adjective in COLOURS or name not in CATEGORIES or name in _NARROW_WORDS
            if not fits or adjective in name.split():  # no orange orange
                continue
            if not any(view.things[i].words.may_look(adjective) for i in others):
                yield Expression("attribute", target, (f"{adjective} {name}",), name, adjective, rivals=len(others))


def _by_position(view: View, target: int) -> Iterator[Expression]:
    for name in view.things[target].words.names:
        members = view.called(name)
        if len(members) < 2 or not view.surely(name) or name in _NO_COUNT:
            continue
        for side, (axis, sign) in _SIDES.items():
            along = _along(view, axis, sign)
            next_one = max(along[i] for i in members if i != target)
            if along[target] - next_one < POSITION_MARGIN * _length(view, axis):
                continue
            if max(members, key=lambda i: (_end(view.things[i], axis, sign), i == target)) != target:
                continue
            wordings = _OF_TWO[side] if len(members) == 2 else _OF_MANY[side]
            in_that_half = along[target] > sign * _length(view, axis) / 2
            phrases = [words.format(name) for words in (wordings if in_that_half else wordings[:1])]
            yield Expression("position", target, tuple(phrases), name, side, rivals=len(members) - 1)


def _by_size(view: View, target: int) -> Iterator[Expression]:
    things = view.things
    for name in things[target].words.names:
        members = view.called(name)
        if len(members) < 2 or not view.surely(name) or name in _NO_COUNT:
            continue
        # Of a mouse drawn larger than an elephant it is anybody's guess which is "the larger animal".
        if len({things[i].words.size for i in members}) > 1:
            continue
        others = [things[i] for i in members if i != target]
        for sign, wordings in _SIZES.items():
            if all(_plainly(things[target], other, sign) for other in others):
                phrases = tuple(words.format(name) for words in wordings[len(members) > 2])
                detail = "larger" if sign > 0 else "smaller"
                yield Expression("size", target, phrases, name, detail, rivals=len(others))


def _by_relation(view: View, target: int) -> Iterator[Expression]:
    for anchor, anchor_name in _anchors(view, target):
        for name in view.things[target].words.names:
            if name in view.background or name == anchor_name:
                continue
            rivals = [i for i in view.called(name) if i not in (target, anchor)]
            for relation, wordings in _RELATIONS.items():
                if _stands(view, relation, target, anchor) and not any(
                    _might_stand(view, relation, rival, anchor) for rival in rivals
                ):
                    phrases = tuple(words.format(name, anchor_name) for words in wordings)
                    yield Expression(
                        "relation", target, phrases, name, relation, anchor, anchor_name, rivals=len(rivals)
                    )


def _anchors(view: View, target: int) -> Iterator[tuple[int, str]]:
    """Other objects that show enough, each with the narrowest and the broadest name that means it alone."""
    for anchor in view.askable():
        if anchor == target:
            continue
        names = [
            name
            for name in view.things[anchor].words.names
            if view.called(name) == [anchor] and name not in view.background
        ]
        for name in dict.fromkeys(names[:1] + names[-1:]):
            yield anchor, name


def _stands(view: View, relation: str, one: int, anchor: int) -> bool:
    """Whether the relation plainly holds."""
    if relation in ("behind", "front"):
        return _covered(view, relation, one, anchor) >= LEAST_COVERED
    axis, sign = _SIDES[relation]
    along, across = _along(view, axis, sign), _along(view, 1 - axis, 1)
    ahead = along[one] - along[anchor]
    return (
        ahead >= RELATION_MARGIN * _length(view, axis) and abs(across[one] - across[anchor]) <= RELATION_SLANT * ahead
    )


def _might_stand(view: View, relation: str, one: int, anchor: int) -> bool:
    """Whether anybody might say that the relation holds."""
    if relation in ("behind", "front"):
        return _covered(view, relation, one, anchor) > 0
    axis, sign = _SIDES[relation]
    along = _along(view, axis, sign)
    return bool(along[one] - along[anchor] > -CLEARLY_NOT * _length(view, axis))


def _covered(view: View, relation: str, one: int, anchor: int) -> float:
    """Share of the lower of the two that the higher covers, when `one` is the lower (`behind`) or the higher."""
    lower, higher = (one, anchor) if relation == "behind" else (anchor, one)
    return view.things[lower].hidden_by.get(higher, 0.0)


def _along(view: View, axis: int, sign: int) -> Sequence[float]:
    """The objects' centres along an axis, growing in the direction of `sign`."""
    return [sign * (thing.y if axis else thing.x) for thing in view.things]


def _length(view: View, axis: int) -> int:
    return view.height if axis else view.width


def _end(thing: Thing, axis: int, sign: int) -> float:
    """How far the visible part reaches in a direction."""
    return thing.box[axis + 2] if sign > 0 else -thing.box[axis]


def _plainly(one: Thing, other: Thing, sign: int) -> bool:
    """Whether the one is larger (or smaller) by what shows, by the whole and by length."""
    larger, smaller = (one, other) if sign > 0 else (other, one)
    areas = (larger.area, smaller.area), (larger.full_area, smaller.full_area)
    return all(a >= SIZE_RATIO * b for a, b in areas) and larger.diagonal >= LENGTH_RATIO * smaller.diagonal
