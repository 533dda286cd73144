"""Polygons to masks and back, exact at pixel edges: a pixel belongs to a polygon when its centre lies inside.

Coordinates are (x, y) in pixels; (0, 0) is the upper left corner of the upper left pixel, whose centre is (0.5, 0.5).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pycocotools import mask as coco_mask

Polygon = Sequence[Sequence[float]] | np.ndarray
"""P >= 3 corners (x, y) in pixels."""

_FIFTHS = 5.0

_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))  # east, south, west, north: the next one is a right turn (y points down)


def paint_polygon(polygon: Polygon, height: int, width: int) -> np.ndarray:
    """Bool [H,W] mask of the polygon's inside (even-odd); parts outside the image are dropped, slivers may be empty."""
    mask = np.zeros((height, width), dtype=bool)
    box, inside = paint_within(polygon, height, width)
    mask[box] = inside
    return mask


def paint_within(polygon: Polygon, height: int, width: int) -> tuple[tuple[slice, slice], np.ndarray]:
    """As `paint_polygon`, of the box around it alone: which rows and columns that is, and the bool mask of it.

    Objects are small, and painting costs as much as what is painted is large.
    """
    points = _clip(np.clip(np.asarray(polygon, dtype=np.float64), -1e9, 1e9), height, width)
    if len(points) < 3:
        return _nothing()
    left = top = 0
    if points.min() >= 0:
        # The rasteriser rounds to fifths of a pixel. That is done before the move to the box, so as not to change it.
        points = np.floor(_FIFTHS * points + 0.5) / _FIFTHS
        left, top = (max(int(low) - 1, 0) for low in points.min(0))
    right, bottom = (min(int(np.ceil(high)) + 1, side) for high, side in zip(points.max(0), (width, height)))
    if right <= left or bottom <= top:
        return _nothing()
    corners = (points - (left, top)).ravel().tolist()
    encoded = coco_mask.frPyObjects([corners], bottom - top, right - left)
    return (slice(top, bottom), slice(left, right)), coco_mask.decode(encoded)[:, :, 0].astype(bool)


def _nothing() -> tuple[tuple[slice, slice], np.ndarray]:
    return (slice(0, 0), slice(0, 0)), np.zeros((0, 0), dtype=bool)


def polygon_area(polygon: Polygon, height: int, width: int) -> int:
    """Number of pixels of an H x W image that the polygon paints."""
    return int(paint_polygon(polygon, height, width).sum())


def mask_to_polygons(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Outline each 4-connected component of a bool [H,W] mask along its pixel edges.

    Painting all the polygons gives back exactly the mask. A component with holes is cut along pixel columns into pieces
    without holes, so it gives two or more polygons. Raises ValueError when the mask is not two-dimensional.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2:
        raise ValueError(f"a mask has two axes [H,W], this one has shape {mask.shape}")
    polygons: list[list[tuple[int, int]]] = []
    waiting = [(mask.astype(bool), 0, 0)]  # pieces with the place of their upper left corner, the next one last
    while waiting:
        piece, left, top = _cropped(*waiting.pop())
        loops = _trace(piece)
        outlines = [loop for loop in loops if _signed_area(loop) > 0]
        if len(outlines) == len(loops):
            polygons += [[(x + left, y + top) for x, y in outline] for outline in outlines]
        elif len(outlines) > 1:  # part the components first, so that only those with a hole are cut
            waiting += [(_component(piece, outline), left, top) for outline in reversed(outlines)]
        else:
            hole = next(loop for loop in loops if _signed_area(loop) < 0)
            column = min(x for x, _ in hole)  # a cut at the hole's left end opens it to the outside of the right piece
            waiting += [(piece[:, column:], left + column, top), (piece[:, :column], left, top)]
    return polygons


def _cropped(mask: np.ndarray, left: int, top: int) -> tuple[np.ndarray, int, int]:
    """The part of a bool [H,W] mask that is not empty, and the place of its corner, given that of the mask's."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return mask[:0, :0], left, top
    inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return inner, left + int(columns[0]), top + int(rows[0])


def _trace(mask: np.ndarray) -> list[list[tuple[int, int]]]:
    """Closed loops of pixel edges around a bool [H,W] mask, inside on the right; only corners are kept."""
    padded = np.pad(mask, 1)
    inner = padded[1:-1, 1:-1]
    # Per direction: whether the neighbour across this side is background, and where the side's edge starts.
    free_sides = (
        (~padded[:-2, 1:-1], (0, 0)),  # upper side, walked east
        (~padded[1:-1, 2:], (1, 0)),  # right side, walked south
        (~padded[2:, 1:-1], (1, 1)),  # lower side, walked west
        (~padded[1:-1, :-2], (0, 1)),  # left side, walked north
    )
    edges = [
        (x + dx, y + dy, direction)
        for direction, (free, (dx, dy)) in enumerate(free_sides)
        for y, x in np.argwhere(inner & free).tolist()
    ]
    unwalked = set(edges)
    every_edge = frozenset(edges)
    loops = []
    for first in edges:
        if first not in unwalked:
            continue
        loop: list[tuple[int, int]] = []
        edge = first
        while True:
            unwalked.discard(edge)
            following = _next_edge(edge, every_edge)
            if following[2] != edge[2]:
                loop.append(following[:2])
            edge = following
            if edge == first:
                break
        loops.append(loop)
    return loops


def _next_edge(edge: tuple[int, int, int], edges: frozenset[tuple[int, int, int]]) -> tuple[int, int, int]:
    """The edge that goes on where `edge` (x, y, direction) ends."""
    x, y, direction = edge
    end = (x + _STEPS[direction][0], y + _STEPS[direction][1])
    # Where two pixels meet only at a corner, turning right stays with the same pixel: 4-connectivity.
    turns = ((*end, (direction + turn) % 4) for turn in (1, 0, -1))
    return next(candidate for candidate in turns if candidate in edges)


def _signed_area(loop: Sequence[tuple[int, int]]) -> float:
    """Shoelace area in pixels: positive around a component, negative around a hole."""
    x, y = np.asarray(loop, dtype=np.float64).T
    return float(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2


def _component(mask: np.ndarray, outline: Sequence[tuple[int, int]]) -> np.ndarray:
    """The 4-connected component of a bool [H,W] mask that `outline` goes around."""
    # Every outer loop has a north-west corner that it leaves eastwards: the pixel below it is inside.
    y, x = min((y, x) for x, y in outline)
    grown = np.zeros_like(mask)
    grown[y, x] = True
    while True:
        before = int(grown.sum())
        spread = grown.copy()
        spread[1:] |= grown[:-1]
        spread[:-1] |= grown[1:]
        spread[:, 1:] |= grown[:, :-1]
        spread[:, :-1] |= grown[:, 1:]
        grown = spread & mask
        if int(grown.sum()) == before:
            return grown


def _clip(points: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cut [P,2] corners to the image plus its own size on every side; a polygon within that is returned unchanged.

    The rasteriser walks every edge in steps of a fifth of a pixel, so a corner 1e9 pixels away would cost gigabytes.
    """
    bounds = ((0, -width, 2 * width), (1, -height, 2 * height))
    for axis, low, high in bounds:
        for limit, sign in ((float(low), 1.0), (float(high), -1.0)):
            depth = sign * (points[:, axis] - limit)  # >= 0 on the side that is kept
            if (depth >= 0).all():
                continue
            kept: list[np.ndarray] = []
            for here, there, a, b in zip(points, np.roll(points, -1, axis=0), depth, np.roll(depth, -1)):
                if a >= 0:
                    kept.append(here)
                if (a >= 0) != (b >= 0):
                    share = a / (a - b)
                    kept.append(here * (1 - share) + there * share)
            points = np.asarray(kept).reshape(-1, 2)
            if not len(points):
                return points
    return points
