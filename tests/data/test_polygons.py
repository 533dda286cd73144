from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from lisa_core.data.polygons import mask_to_polygons, paint_polygon, polygon_area

masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))
smooth_masks = masks.map(lambda mask: np.kron(mask, np.ones((3, 2), dtype=bool)))


def painted(polygons: list[list[tuple[int, int]]], shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """How many polygons cover each pixel, and the union."""
    count = np.zeros(shape, dtype=int)
    for polygon in polygons:
        count += paint_polygon(polygon, *shape)
    return count, count > 0


@settings(max_examples=300, deadline=None)
@given(st.one_of(masks, smooth_masks))
def test_outlines_paint_exactly_the_mask_they_were_traced_from(mask: np.ndarray) -> None:
    count, union = painted(mask_to_polygons(mask), mask.shape)
    assert np.array_equal(union, mask)
    assert count.max(initial=0) <= 1, "the pieces overlap"


coordinates = (
    st.floats(-30, 60, allow_nan=False)
    | st.integers(-5, 40).map(float)
    | st.integers(0, 400).map(lambda tenths: tenths / 10)
    | st.integers(0, 4000).map(lambda hundredths: hundredths / 100)
)


@settings(max_examples=2000, deadline=None)
@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=9), st.integers(1, 30), st.integers(1, 30))
def test_painting_the_box_alone_is_painting_the_whole_image(
    points: list[tuple[float, float]], height: int, width: int
) -> None:
    whole = coco_mask.decode(coco_mask.frPyObjects([np.ravel(points).tolist()], height, width))[:, :, 0]
    clipped = any(not (-width <= x <= 2 * width and -height <= y <= 2 * height) for x, y in points)
    if not clipped:  # what is cut off far away moves the rounding of the edges that it cuts
        assert np.array_equal(paint_polygon(points, height, width), whole)


def test_a_single_pixel_gives_its_four_corners() -> None:
    mask = np.zeros((3, 4), dtype=bool)
    mask[1, 2] = True
    assert sorted(mask_to_polygons(mask)[0]) == [(2, 1), (2, 2), (3, 1), (3, 2)]


def test_components_are_4_connected_and_straight_runs_have_no_corners() -> None:
    mask = np.zeros((8, 8), dtype=bool)
    mask[:4, :4] = True
    mask[4:, 4:] = True
    polygons = mask_to_polygons(mask)
    assert [len(polygon) for polygon in polygons] == [4, 4]


def test_a_ring_is_cut_into_pieces_and_its_neighbour_is_left_whole() -> None:
    mask = np.zeros((12, 16), dtype=bool)
    mask[1:9, 1:9] = True
    mask[3:7, 3:7] = False
    mask[2:4, 11:14] = True
    polygons = mask_to_polygons(mask)
    assert len(polygons) >= 3
    assert [(11, 2), (14, 2), (14, 4), (11, 4)] in [sorted_from(polygon, (11, 2)) for polygon in polygons]
    assert np.array_equal(painted(polygons, mask.shape)[1], mask)


def sorted_from(polygon: list[tuple[int, int]], start: tuple[int, int]) -> list[tuple[int, int]]:
    """The polygon's corners, begun at `start` when it has it."""
    at = polygon.index(start) if start in polygon else 0
    return polygon[at:] + polygon[:at]


def test_an_empty_mask_has_no_outline_and_a_stack_is_refused() -> None:
    assert mask_to_polygons(np.zeros((5, 5), dtype=bool)) == []
    with pytest.raises(ValueError, match="two axes"):
        mask_to_polygons(np.zeros((2, 5, 5), dtype=bool))


coordinates = st.floats(-20, 40, allow_nan=False)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(coordinates, coordinates), min_size=3, max_size=8))
def test_painting_agrees_with_point_in_polygon_away_from_the_outline(points: list[tuple[float, float]]) -> None:
    height, width = 11, 17
    rows, columns = np.mgrid[:height, :width] + 0.5
    centres = np.stack([columns, rows], -1)
    clear = distance_to_outline(points, centres) > 0.6
    assert np.array_equal(paint_polygon(points, height, width)[clear], inside(points, centres)[clear])


def inside(points: list[tuple[float, float]], centres: np.ndarray) -> np.ndarray:
    """Even-odd rule for centres [...,2] by counting the edges that a ray to the right of each crosses."""
    x, y = centres[..., 0], centres[..., 1]
    crossings = np.zeros(x.shape, dtype=int)
    for (x1, y1), (x2, y2) in zip(points, points[1:] + points[:1]):
        crossed = (y1 > y) != (y2 > y)
        if crossed.any():
            crossings += crossed & ((x2 - x1) * (y - y1) / (y2 - y1) + x1 > x)
    return crossings % 2 == 1


def distance_to_outline(points: list[tuple[float, float]], centres: np.ndarray) -> np.ndarray:
    """Distance from centres [...,2] to the closest edge, in pixels."""
    distances = []
    for start, end in zip(points, points[1:] + points[:1]):
        a, b = np.array(start), np.array(end)
        length = float((b - a) @ (b - a))
        share = np.clip((centres - a) @ (b - a) / length, 0, 1) if length > 1e-12 else np.zeros(centres.shape[:-1])
        distances.append(np.linalg.norm(centres - (a + share[..., None] * (b - a)), axis=-1))
    return np.min(distances, 0)


def test_area_counts_pixels_inside_the_image_only() -> None:
    assert polygon_area([(2, 3), (6, 3), (6, 5), (2, 5)], 10, 10) == 8
    assert polygon_area([(-5, -5), (3, -5), (3, 3), (-5, 3)], 10, 10) == 9
    assert polygon_area([(20, 20), (30, 20), (30, 30)], 10, 10) == 0
    assert polygon_area([(4.1, 4.1), (4.2, 4.1), (4.2, 4.2)], 10, 10) == 0


@pytest.mark.parametrize("far", [1e3, 1e6, 1e12, 1e300])
def test_a_corner_far_outside_costs_no_memory_and_still_covers(far: float) -> None:
    assert polygon_area([(-far, -far), (far, -far), (far, far), (-far, far)], 7, 9) == 63
    assert polygon_area([(-far, 0), (far, 0), (far, 3), (-far, 3)], 7, 9) == 27
