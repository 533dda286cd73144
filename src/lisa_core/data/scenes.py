"""Samples synthetic scenes: which objects there are, where they lie, and how much of each is seen."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from lisa_core.data.drawing import Layer, SceneObject, draw_object, draw_scene, visible_masks
from lisa_core.data.shapes import COLOURS, REACH, SHAPES, TEXTURES

HELD_OUT = frozenset(
    {
        ("red", "star"),
        ("orange", "cross"),
        ("yellow", "triangle"),
        ("green", "square"),
        ("blue", "heart"),
        ("purple", "circle"),
        ("pink", "ring"),
    }
)
"""(colour, shape) pairs that no training or validation scene shows; every test scene describes one of them.

Each word of a held-out pair is seen in other pairs, so a model that composes words can name the pair.
"""

LEAST_VISIBLE = 0.62
"""Share of every object's pixels that later objects leave uncovered, at least."""

SMALLEST, LARGEST = 0.28, 0.55
"""Range of the nominal diameter, in shares of the picture's short side."""

_ASPECTS = (3 / 4, 16 / 9)  # width : height
_SMALLEST_TEXTURED = 22.0  # pixels of diameter; a pattern on less than that cannot be told
_TILT = {"circle": 0.0, "ring": 0.0, "square": 0.2}
_USUAL_TILT = 0.28  # radians


@dataclass
class Scene:
    """A drawn scene: the picture, its objects from the lowest to the topmost, and the pixels each one shows."""

    image: np.ndarray
    """uint8 [H,W,3]."""
    objects: list[SceneObject]
    """K objects in painting order."""
    masks: np.ndarray
    """bool [K,H,W]: visible pixels."""
    full_areas: np.ndarray
    """int64 [K]: pixels each object would show if nothing covered it."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in pixels."""
        return self.image.shape[1], self.image.shape[0]

    @cached_property
    def areas(self) -> np.ndarray:
        """int64 [K]: visible pixels of each object."""
        return self.masks.sum(axis=(1, 2))

    @cached_property
    def centres(self) -> np.ndarray:
        """float64 [K,2]: mean (x, y) of each object's visible pixels."""
        return np.array([np.argwhere(mask)[:, ::-1].mean(axis=0) + 0.5 for mask in self.masks])


def sample_scene(
    rng: np.random.Generator, size: int, min_objects: int, max_objects: int, *, held_out: bool = False
) -> Scene:
    """Sample and draw a scene whose longest side is `size` pixels.

    Objects tend to share a colour or a shape, so that one word seldom tells which is meant. With `held_out` at least
    one object has a pair from `HELD_OUT`; without it none has.
    """
    while True:
        width, height = _sample_size(rng, size)
        count = int(rng.integers(min_objects, max_objects + 1))
        placed = _place(rng, _sample_kinds(rng, count, held_out), width, height)
        if placed is not None:
            break
    objects, layers = placed
    image = draw_scene(objects, layers, height, width, rng)
    full_areas = np.array([int((layer.alpha > 0.5).sum()) for layer in layers])
    return Scene(image, objects, visible_masks(layers, height, width), full_areas)


def _sample_size(rng: np.random.Generator, size: int) -> tuple[int, int]:
    """(width, height): a quarter of the pictures are square, the others between 3:4 and 16:9."""
    aspect = 1.0 if rng.random() < 0.25 else float(np.exp(rng.uniform(*np.log(_ASPECTS))))
    return (size, round(size / aspect)) if aspect >= 1 else (round(size * aspect), size)


def _sample_kinds(rng: np.random.Generator, count: int, held_out: bool) -> list[tuple[str, str]]:
    """(colour, shape) of each object, in random order."""
    colours, shapes = list(COLOURS), list(SHAPES)
    kinds: list[tuple[str, str]] = []
    if held_out:
        kinds.append(sorted(HELD_OUT)[int(rng.integers(len(HELD_OUT)))])
    while len(kinds) < count:
        unused = [colour for colour in colours if colour not in {kind[0] for kind in kinds}]
        colour, shape = unused[int(rng.integers(len(unused)))], shapes[int(rng.integers(len(shapes)))]
        if kinds:
            like = kinds[int(rng.integers(len(kinds)))]
            choice = rng.random()
            colour = like[0] if choice < 0.12 or choice >= 0.97 else colour
            shape = like[1] if 0.12 <= choice < 0.5 or choice >= 0.97 else shape
        if held_out or (colour, shape) not in HELD_OUT:
            kinds.append((colour, shape))
    return [kinds[index] for index in rng.permutation(count)]


def _place(
    rng: np.random.Generator, kinds: list[tuple[str, str]], width: int, height: int
) -> tuple[list[SceneObject], list[Layer]] | None:
    """Put the objects one on top of the other; None when there is no room."""
    overlaps = rng.random() < 0.5
    objects: list[SceneObject] = []
    layers: list[Layer] = []
    for colour, shape in kinds:
        item = _sample_object(rng, colour, shape, min(width, height))
        for attempt in range(60):
            if attempt % 12 == 11:
                item = replace(item, diameter=max(0.88 * item.diameter, SMALLEST * min(width, height)))
            reach = REACH * item.diameter / 2 + 1
            x, y = rng.uniform(reach, width - reach), rng.uniform(reach, height - reach)
            item = replace(item, x=float(x), y=float(y))
            if not all(_apart(item, other, overlaps) for other in objects):
                continue
            layer = draw_object(item, height, width)
            if _all_seen([*layers, layer], height, width):
                objects.append(item)
                layers.append(layer)
                break
        else:
            return None
    return objects, layers


def _sample_object(rng: np.random.Generator, colour: str, shape: str, short_side: int) -> SceneObject:
    """An object of random size, texture, tilt and brightness, not placed yet."""
    diameter = short_side * float(np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST))))
    texture = TEXTURES[int(rng.choice(len(TEXTURES), p=(0.7, 0.1, 0.1, 0.1)))]
    tilt = _TILT.get(shape, _USUAL_TILT)
    return SceneObject(
        shape=shape,
        colour=colour,
        texture=texture if diameter >= _SMALLEST_TEXTURED else "plain",
        diameter=diameter,
        x=0.0,
        y=0.0,
        angle=float(rng.uniform(-tilt, tilt)),
        brightness=float(rng.uniform(0.93, 1.05)),
        texture_angle=float(rng.uniform(0, np.pi)),
    )


def _apart(item: SceneObject, other: SceneObject, overlaps: bool) -> bool:
    """Whether two objects are far enough apart: those of one colour may not touch, or they would look like one."""
    distance = float(np.hypot(item.x - other.x, item.y - other.y))
    if item.colour == other.colour or not overlaps:
        return distance > 1.1 * (item.diameter + other.diameter) / 2 + 2
    return distance > 0.35 * max(item.diameter, other.diameter)


def _all_seen(layers: list[Layer], height: int, width: int) -> bool:
    """Whether enough of every object is visible."""
    areas = visible_masks(layers, height, width).sum(axis=(1, 2))
    full_areas = [(layer.alpha > 0.5).sum() for layer in layers]
    return all(area >= LEAST_VISIBLE * max(full, 1) for area, full in zip(areas, full_areas))
