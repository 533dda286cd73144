"""One ReasonSeg annotation: its sentences, its polygons, and the mask they paint."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lisa_core.data.files import parse_points, parse_sentence, read_json, short
from lisa_core.data.polygons import paint_within
from lisa_core.errors import DataError
from lisa_core.types import IGNORE


class Shape(NamedTuple):
    """One polygon of an annotation."""

    value: int
    """What it paints: 1 for the target, 255 for pixels that do not count."""
    points: np.ndarray
    """float64 [P,2], (x, y) in pixels."""


@dataclass(frozen=True)
class Annotation:
    """The content of one `X.json`."""

    texts: tuple[str, ...]
    """Phrasings of the same target; never blank."""
    is_sentence: bool
    """True for full sentences, False for noun phrases."""
    shapes: tuple[Shape, ...]
    """Polygons in file order, without the deprecated `flag` ones."""


def read_annotation(path: Path, *, sentences_needed: bool = True) -> Annotation:
    """Read and check one `X.json`; raises a one-line `DataError` that names the file for anything it cannot mean.

    `sentences_needed=False` reads the shapes only, for files whose sentence comes from a list.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(f"{path} must hold an object with `text` and `shapes`, not {type(content).__name__}.")
    if "shapes" not in content:
        raise DataError(
            f"{path} has no `shapes`: add the target's polygons, or an empty list if nothing is to be found."
        )
    if not isinstance(content["shapes"], list):
        raise DataError(f"{path}: `shapes` must be a list of {{label, points}}, not {short(content['shapes'])}.")
    shapes = [_parse_shape(shape, path, number) for number, shape in enumerate(content["shapes"])]
    texts = _parse_texts(content, path) if sentences_needed else ()
    is_sentence = content.get("is_sentence", False)
    if not isinstance(is_sentence, (bool, int)):
        raise DataError(f"{path}: `is_sentence` must be true or false, not {short(is_sentence)}.")
    return Annotation(texts, bool(is_sentence), tuple(shape for shape in shapes if shape is not None))


def rasterize(shapes: tuple[Shape, ...], height: int, width: int) -> np.ndarray:
    """uint8 [H,W] mask of the shapes: 0, 1 or 255; larger polygons are painted first, so smaller ones lie on top."""
    painted = [(shape.value, *paint_within(shape.points, height, width)) for shape in shapes]
    painted.sort(key=lambda item: -np.count_nonzero(item[2]))  # stable: equal areas stay in file order
    mask = np.zeros((height, width), dtype=np.uint8)
    for value, box, inside in painted:
        mask[box][inside] = value
    return mask


def _parse_texts(content: dict[str, Any], path: Path) -> tuple[str, ...]:
    """The `text` list, or its single string."""
    texts = content.get("text")
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, list) or not texts:
        raise DataError(f"{path}: `text` must be a list with at least one sentence, not {short(texts)}.", "text")
    return tuple(parse_sentence(text, path, f"text {number}") for number, text in enumerate(texts))


def _parse_shape(shape: object, path: Path, number: int) -> Shape | None:
    """One entry of `shapes`; None for a `flag`, which ReasonSeg keeps for deprecated marks without meaning."""
    if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
        raise DataError(f"{path}: shape {number} must be an object with `label` and `points`, not {short(shape)}.")
    label = shape["label"].strip().lower()
    ignored = "ignore" in label
    if "flag" in label and not ignored:
        return None
    if not ignored and label != "target":
        raise DataError(f"{path}: shape {number} has the unknown label {shape['label']!r}: use target, ignore or flag.")
    points = shape.get("points")
    if not isinstance(points, list) or len(points) < 3:
        count = len(points) if isinstance(points, list) else 0
        raise DataError(f"{path}: the polygon of shape {number} has {count} points: it needs at least 3.", "polygon")
    return Shape(IGNORE if ignored else 1, parse_points(points, f"{path}: shape {number}"))
