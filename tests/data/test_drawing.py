from __future__ import annotations

import numpy as np
import pytest

from lisa_core.data.drawing import SceneObject, draw_object, visible_masks
from lisa_core.data.shapes import COLOURS, SHAPES


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_is_drawn_where_and_as_large_as_it_says(shape: str) -> None:
    item = SceneObject(shape, "red", "plain", diameter=40, x=50.3, y=40.6, angle=0.0)
    layer = draw_object(item, 90, 100)
    covered = visible_masks([layer], 90, 100)[0]
    outline = SHAPES[shape] * 20 + (50.3, 40.6)
    rows, columns = np.flatnonzero(covered.any(axis=1)), np.flatnonzero(covered.any(axis=0))
    # Tips narrower than a pixel are not covered.
    assert columns[0] == pytest.approx(outline[:, 0].min(), abs=2.6)
    assert columns[-1] + 1 == pytest.approx(outline[:, 0].max(), abs=2.6)
    assert rows[0] == pytest.approx(outline[:, 1].min(), abs=2.6)
    assert rows[-1] + 1 == pytest.approx(outline[:, 1].max(), abs=2.6)
    x, y = outline.T
    exact = abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2
    assert covered.sum() == pytest.approx(exact, rel=0.04)
    assert layer.alpha.sum() == pytest.approx(exact, rel=0.03)


def test_a_later_object_hides_an_earlier_one() -> None:
    def square(x: float) -> SceneObject:
        return SceneObject("square", "red", "plain", diameter=20 / 0.86, x=x, y=20.0, angle=0.0)

    masks = visible_masks([draw_object(square(20.0), 40, 60), draw_object(square(30.0), 40, 60)], 40, 60)
    assert (masks[0].sum(), masks[1].sum()) == (200, 400)
    assert masks[0][20, 12] and not masks[0][20, 22] and masks[1][20, 22]


@pytest.mark.parametrize("texture", ["striped", "dotted", "checkered"])
@pytest.mark.parametrize("colour", COLOURS)
def test_a_texture_shows_its_colour_and_a_darker_shade(texture: str, colour: str) -> None:
    item = SceneObject("square", colour, texture, diameter=44, x=30, y=30, angle=0.0, texture_angle=0.4)
    layer = draw_object(item, 60, 60)
    inside = layer.light[layer.alpha > 0.99]
    full = np.abs(inside - np.array(COLOURS[colour])).max(axis=1) < 8
    dark = inside.sum(axis=1) < 0.5 * sum(COLOURS[colour])
    assert full.mean() > 0.2 and dark.mean() > 0.1
