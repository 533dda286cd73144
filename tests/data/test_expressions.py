"""Every sentence is parsed again, by rules written here, and must be true of its object and of no other one."""

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from lisa_core.data.scenes import Scene
from lisa_core.data.shapes import COLOURS, SHAPES
from lisa_core.data.synth import SynthConfig, make_scene
from lisa_core.data.wording import phrase

TEXTURES = {"plain", "striped", "dotted", "checkered"}
RELATIONS = {"to the left of": "left", "left of": "left", "to the right of": "right", "right of": "right"}
RELATIONS |= {"above": "up", "below": "down"}
PLACES = {"on the far left": "left", "on the left": "left", "on the far right": "right", "on the right": "right"}
PLACES |= {"at the very top": "up", "at the top": "up", "at the very bottom": "down", "at the bottom": "down"}
OUTERMOST = {"leftmost": "left", "rightmost": "right", "topmost": "up", "lowest": "down"}
STEP = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}


def centre(scene: Scene, index: int) -> np.ndarray:
    rows, columns = np.nonzero(scene.masks[index])
    return np.array([columns.mean(), rows.mean()])


def meant(scene: Scene, words: str) -> list[int]:
    """The objects a noun phrase without article fits, by reading its words from the left."""
    for relation, way in RELATIONS.items():
        head, found, anchor = words.partition(f" {relation} the ")
        if found:
            anchors = meant(scene, anchor)
            assert len(anchors) == 1, f"'{anchor}' is not one object"
            origin, step = centre(scene, anchors[0]), np.array(STEP[way])
            return [i for i in meant(scene, head) if (centre(scene, i) - origin) @ step > 0.03 * max(scene.size)]
    for place, way in PLACES.items():
        if words.endswith(" " + place):
            return outermost(scene, meant(scene, words.removesuffix(" " + place)), way)
    first, _, rest = words.partition(" ")
    if first in OUTERMOST:
        return outermost(scene, meant(scene, rest), OUTERMOST[first])
    if first in ("largest", "biggest", "smallest"):
        sign = -1 if first == "smallest" else 1
        ranked = sorted(meant(scene, rest), key=lambda i: sign * int(scene.masks[i].sum()), reverse=True)
        best, next_best = (int(scene.masks[i].sum()) for i in ranked[:2])
        assert max(best, next_best) >= 1.3 * min(best, next_best)
        return ranked[:1]
    if first in ("large", "small"):
        return sized(scene, meant(scene, rest), first)
    found_objects = list(range(len(scene.objects)))
    for word in words.split():
        assert word in TEXTURES or word in COLOURS or word in SHAPES or word in ("object", "thing"), word
        found_objects = [
            i
            for i in found_objects
            if word in ("object", "thing", scene.objects[i].colour, scene.objects[i].shape, scene.objects[i].texture)
        ]
    return found_objects


def outermost(scene: Scene, indices: list[int], way: str) -> list[int]:
    """The one farthest that way, which must be so by 12% of the picture's side."""
    reach = {i: float(centre(scene, i) @ np.array(STEP[way])) for i in indices}
    ranked = sorted(reach, key=lambda i: reach[i], reverse=True)
    side = scene.size[0] if way in ("left", "right") else scene.size[1]
    assert len(ranked) > 1 and reach[ranked[0]] - reach[ranked[1]] >= 0.119 * side
    return ranked[:1]


def sized(scene: Scene, indices: list[int], word: str) -> list[int]:
    """Those that may be called so, beside the extreme one."""
    sign = 1 if word == "large" else -1
    best = max(indices, key=lambda i: sign * scene.objects[i].diameter)
    share = scene.objects[best].diameter / min(scene.size)
    assert share >= 0.44 if word == "large" else share <= 0.34
    return [i for i in indices if (scene.objects[best].diameter / scene.objects[i].diameter) ** sign < 1.3]


def noun_phrase(text: str) -> str:
    """What a text names, without its sentence and its article."""
    core = re.sub(r"^(Where is|Please find|Can you segment|Show me|Point out|Which one is) ", "", text)
    return core.rstrip(".?").removeprefix("the ")


@pytest.mark.parametrize("held_out", [pytest.param(False, marks=pytest.mark.slow), True])
def test_every_text_is_true_of_its_object_alone(held_out: bool) -> None:
    kinds: Counter[str] = Counter()
    for seed in range(250):
        rng = np.random.default_rng([seed, held_out])
        scene, expressions = make_scene(rng, SynthConfig(), held_out=held_out)
        assert len({expression.target for expression in expressions}) == len(expressions)
        for expression in expressions:
            kinds[expression.kind] += 1
            texts = {text for is_sentence in (False, True) for text in phrase(rng, expression, is_sentence)}
            for text in texts | set(expression.wordings):
                assert meant(scene, noun_phrase(text)) == [expression.target], (seed, text)
            assert scene.areas[expression.target] >= 0.6 * scene.full_areas[expression.target]
    shares = {kind: count / sum(kinds.values()) for kind, count in kinds.items()}
    assert 0.7 < shares["attribute"] < 0.9
    assert all(0.02 < shares[kind] < 0.15 for kind in ("superlative", "position", "relation"))


def test_words_matter() -> None:
    """Colour alone, or shape alone, seldom tells which of two-word expressions' objects is meant."""
    ambiguous = 0
    total = 0
    for seed in range(150):
        scene, expressions = make_scene(np.random.default_rng(seed), SynthConfig())
        for expression in expressions:
            words = expression.wordings[0].split()
            if expression.kind == "attribute" and len(words) == 2 and words[0] in COLOURS and words[1] in SHAPES:
                total += 1
                ambiguous += any(len(meant(scene, word)) > 1 for word in words)
    assert total > 50 and ambiguous / total > 0.7
