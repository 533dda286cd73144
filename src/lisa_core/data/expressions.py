"""Sentences about a scene: referring expressions that are true of exactly one object, with a margin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from lisa_core.data.drawing import SceneObject
from lisa_core.data.scenes import Scene
from lisa_core.data.wording import (
    AT_THE_EDGE,
    AT_THE_SIDE,
    OUTERMOST,
    RELATIONS,
    SIDES,
    Expression,
    join_words,
)

KINDS = {"attribute": 0.8, "superlative": 0.07, "position": 0.06, "relation": 0.07}
"""How often each kind is tried first; where it does not apply, the next one is."""

COMPARING = 0.2
"""Share of those of `KINDS` that compare objects with one another."""

SIZE_MARGIN = 1.3
"""Factor in area between the largest (smallest) object and the next."""

REACH_MARGIN = 1.12
"""Factor in diameter between them: a star has little area for its reach, and people look at both."""

POSITION_MARGIN = 0.12
"""Gap between the outermost object and the next, in shares of the picture's side."""

RELATION_MARGIN = 0.15
"""Least offset of `left of`, `above` ... in shares of the picture's side."""

LEAST_DESCRIBED = 0.6
"""An object is described when at least this share of it is visible."""

_LARGE, _SMALL = 0.44, 0.34  # diameters that may be called large and small, in shares of the short side

_COMBINATIONS = {  # which attributes an expression names, and how often
    ("colour", "shape"): 8.0,
    ("shape",): 0.6,
    ("colour",): 1.6,
    ("size", "colour", "shape"): 1.0,
    ("size", "shape"): 0.4,
    ("size", "colour"): 0.4,
    ("texture", "shape"): 0.4,
    ("texture", "colour", "shape"): 0.8,
    ("texture", "colour"): 0.4,
    ("texture",): 0.1,
}


def describe(
    rng: np.random.Generator,
    scene: Scene,
    count: int,
    first: Sequence[int] | None = None,
    comparing: float = COMPARING,
) -> list[Expression]:
    """Up to `count` expressions for distinct objects; the first one is for an object of `first`, when given.

    `comparing` is the share of those that compare objects, among which the kinds keep their proportions.
    """
    shares = KINDS
    if comparing != COMPARING:
        shares = {
            kind: 1 - comparing if kind == "attribute" else comparing * share / COMPARING
            for kind, share in KINDS.items()
        }
    by_kind = {kind: list(find(scene)) for kind, find in _FINDERS.items()}
    chosen: list[Expression] = []
    for number in range(count):
        taken = {expression.target for expression in chosen}
        allowed = set(first) if first is not None and number == 0 else set(range(len(scene.objects))) - taken
        for kind in _in_random_order(rng, shares):
            fitting = [expression for expression in by_kind[kind] if expression.target in allowed]
            if fitting:
                weights = np.array([expression.weight for expression in fitting])
                chosen.append(fitting[int(rng.choice(len(fitting), p=weights / weights.sum()))])
                break
    return chosen


def _in_random_order(rng: np.random.Generator, shares: dict[str, float]) -> list[str]:
    """The kinds, likelier ones sooner; those of no share come last."""
    likely = [kind for kind, share in shares.items() if share > 0]
    weights = np.array([shares[kind] for kind in likely])
    drawn = rng.choice(likely, size=len(likely), replace=False, p=weights / weights.sum())
    return [*drawn.tolist(), *(kind for kind in shares if kind not in likely)]


def attribute_expressions(scene: Scene) -> Iterator[Expression]:
    """`red circle`, `large striped star`, `green thing`: attributes that one object alone has."""
    short_side = min(scene.size)
    for target in _describable(scene):
        item = scene.objects[target]
        size = (
            "large" if item.diameter >= _LARGE * short_side else "small" if item.diameter <= _SMALL * short_side else ""
        )
        for names, weight in _COMBINATIONS.items():
            if "size" in names and not size:
                continue
            words = {name: size if name == "size" else str(getattr(item, name)) for name in names}
            others = [other for index, other in enumerate(scene.objects) if index != target]
            if any(_fits(words, other, item) for other in others):
                continue
            wordings = [join_words(words, noun) for noun in ("object", "thing")]
            plain = 0.4 if words.get("texture") == "plain" else 1.0  # few people mention that something has no pattern
            yield Expression("attribute", target, tuple(dict.fromkeys(wordings)), weight * plain)


def superlative_expressions(scene: Scene) -> Iterator[Expression]:
    """`largest object`, `smallest circle`: by visible area, by full area and by diameter."""
    measures = scene.areas, scene.full_areas
    diameters = [item.diameter for item in scene.objects]
    for noun, members in _groups(scene):
        for target in members:
            if target not in _describable(scene):
                continue
            others = [index for index in members if index != target]
            for words, sign in ((("largest", "biggest"), 1), (("smallest",), -1)):
                margins = [(m[target] / m[other]) ** sign for m in measures for other in others]
                reaches = [(diameters[target] / diameters[other]) ** sign for other in others]
                if min(margins) >= SIZE_MARGIN and min(reaches) >= REACH_MARGIN:
                    wordings = tuple(f"{word} {name}" for word in words for name in noun)
                    yield Expression("superlative", target, wordings, 1.0 if noun[0] == "object" else 1.5)


def position_expressions(scene: Scene) -> Iterator[Expression]:
    """`leftmost star`, `object on the far right`, `circle at the top`: outermost by a margin, in the outer part."""
    for noun, members in _groups(scene):
        for target in members:
            if target not in _describable(scene):
                continue
            for side, (axis, sign) in SIDES.items():
                place = sign * (scene.centres[:, axis] / scene.size[axis] - 0.5)  # 0.5 at the side itself
                others = max(place[index] for index in members if index != target)
                if place[target] < others + POSITION_MARGIN or place[target] < 0.08:
                    continue
                wordings = [f"{OUTERMOST[side]} {name}" for name in noun]
                wordings += [f"{name} {AT_THE_EDGE[side]}" for name in noun]
                if others < -0.02:  # the others lie in the other half, so the bare side is enough
                    wordings += [f"{name} {AT_THE_SIDE[side]}" for name in noun]
                yield Expression("position", target, tuple(wordings), 1.0 if noun[0] == "object" else 1.5)


def relation_expressions(scene: Scene) -> Iterator[Expression]:
    """`square left of the red circle`: true by a margin, and of no other object that the noun fits."""
    centres, everything = scene.centres, range(len(scene.objects))
    for anchor in everything:
        anchor_words = _anchor_wording(scene, anchor)
        if anchor_words is None:
            continue
        for target in _describable(scene):
            if target == anchor:
                continue
            for side, (axis, sign) in SIDES.items():
                along = sign * (centres[:, axis] - centres[anchor, axis])
                across = abs(centres[target, 1 - axis] - centres[anchor, 1 - axis])
                if along[target] < RELATION_MARGIN * scene.size[axis] or across > along[target]:
                    continue
                for noun, members in _nouns(scene, target):
                    rivals = [index for index in members if index not in (target, anchor)]
                    if any(along[index] > 0.02 * scene.size[axis] for index in rivals):
                        continue
                    wordings = tuple(f"{noun} {word} the {anchor_words}" for word in RELATIONS[side])
                    yield Expression("relation", target, wordings, 4.0 if rivals else 1.0)


_FINDERS = {
    "attribute": attribute_expressions,
    "superlative": superlative_expressions,
    "position": position_expressions,
    "relation": relation_expressions,
}


def _describable(scene: Scene) -> list[int]:
    """Objects of which enough is visible."""
    return np.flatnonzero(scene.areas >= LEAST_DESCRIBED * scene.full_areas).tolist()


def _fits(words: dict[str, str], other: SceneObject, target: SceneObject) -> bool:
    """Whether words that describe `target` could mean `other` too; sizes differ only by a margin."""
    for name, word in words.items():
        if name == "size":
            ratio = target.diameter / other.diameter
            if (ratio if word == "large" else 1 / ratio) >= SIZE_MARGIN:
                return False
        elif getattr(other, name) != word:
            return False
    return True


def _groups(scene: Scene) -> Iterator[tuple[tuple[str, ...], list[int]]]:
    """Nouns that fit two or more objects, with those objects: every object, those of a shape, those of a colour."""
    objects = scene.objects
    groups: dict[tuple[str, ...], list[int]] = {("object", "thing"): list(range(len(objects)))}
    for index, item in enumerate(objects):
        groups.setdefault((item.shape,), []).append(index)
        groups.setdefault((f"{item.colour} object", f"{item.colour} thing"), []).append(index)
    return ((noun, members) for noun, members in groups.items() if len(members) > 1)


def _nouns(scene: Scene, target: int) -> Iterator[tuple[str, list[int]]]:
    """Noun phrases for the target of a relation, with all the objects each one fits."""
    item = scene.objects[target]
    for words in ({}, {"shape": item.shape}, {"colour": item.colour}, {"colour": item.colour, "shape": item.shape}):
        members = [index for index, other in enumerate(scene.objects) if _fits(words, other, item)]
        yield join_words(words, "object"), members


def _anchor_wording(scene: Scene, anchor: int) -> str | None:
    """Colour and shape of the object a relation refers to, or None when they do not tell it from the others."""
    item = scene.objects[anchor]
    words = {"colour": item.colour, "shape": item.shape}
    if sum(_fits(words, other, item) for other in scene.objects) > 1:
        return None
    return join_words(words, "object")
