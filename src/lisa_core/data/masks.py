"""Outlines as datasets write them (polygons, run lengths, boxes, pictures) to masks of the picture's size."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lisa_core.data.files import finite_numbers, is_number, short
from lisa_core.data.picture_file import opened
from lisa_core.data.polygons import paint_polygon
from lisa_core.errors import DataError


def paint_segmentation(segmentation: Any, height: int, width: int, where: str) -> np.ndarray:
    """Bool [H,W] mask of a COCO `segmentation`, by COCO's own rule.

    Polygons `[[x1, y1, x2, y2, ...], ...]` and lists of run lengths are united; run lengths may be COCO's compressed
    text or plain numbers. Raises `DataError` that begins with `where` for anything else.
    """
    if isinstance(segmentation, dict):
        return decode_rle(segmentation, height, width, where)
    if not isinstance(segmentation, list) or not segmentation:
        raise DataError(f"{where} has no outline ({short(segmentation)}): give polygons or run lengths.")
    mask = np.zeros((height, width), dtype=bool)
    for part in segmentation:
        if isinstance(part, dict):
            mask |= decode_rle(part, height, width, where)
        else:
            mask |= paint_polygon(polygon_points(part, where), height, width)
    return mask


def polygon_points(polygon: Any, where: str) -> np.ndarray:
    """float64 [P,2] corners (x, y) from `[x1, y1, x2, y2, ...]` or `[[x1, y1], ...]`; raises `DataError`."""
    flat = polygon
    if isinstance(polygon, list) and any(isinstance(point, list) for point in polygon):
        if not all(isinstance(point, list) and len(point) == 2 for point in polygon):
            message = f"{where} has a polygon whose points are not all [x, y]: correct {short(polygon)}."
            raise DataError(message, "polygon")
        flat = [value for point in polygon for value in point]
    if not isinstance(flat, list) or len(flat) < 6 or len(flat) % 2:
        message = f"{where} has a polygon that is not at least 3 points x, y: correct {short(polygon)}."
        raise DataError(message, "polygon")
    values = finite_numbers(flat)
    if values is None:
        raise DataError(
            f"{where} has a polygon with coordinates that are not finite numbers: correct {short(polygon)}.", "polygon"
        )
    return values.reshape(-1, 2)


def decode_rle(rle: dict[str, Any], height: int, width: int, where: str) -> np.ndarray:
    """Bool [H,W] mask of COCO run lengths `{"size": [H, W], "counts": ...}`; raises `DataError`.

    Every run is checked before it is written, so that damaged or hostile counts cannot write outside of the mask.
    """
    size, counts = rle.get("size"), rle.get("counts")
    if size != [height, width]:
        raise DataError(
            f"{where} has run lengths of size {short(size)}, its picture is [{height}, {width}]: correct it.",
            "mask-size",
        )
    runs = _decompress(counts) if isinstance(counts, (str, bytes)) else counts
    if (
        not isinstance(runs, list)
        or not all(type(run) is int and 0 <= run <= height * width for run in runs)
        or sum(runs) != height * width
    ):
        message = f"{where} has run lengths that do not add up to {height} x {width} pixels: write them again."
        raise DataError(message, "rle")
    values = np.arange(len(runs)) % 2 == 1  # background first, then in turn
    return np.repeat(values, runs).reshape(width, height).T  # column by column


def _decompress(counts: str | bytes) -> list[int] | None:
    """Runs from COCO's compressed text: five bits a character, from the third run on the difference to two before."""
    data = counts.encode("utf-8", "replace") if isinstance(counts, str) else counts
    runs: list[int] = []
    value = shift = 0
    for byte in data:
        bits = byte - 48
        if not 0 <= bits < 64 or shift > 60:
            return None
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + runs[-2] if len(runs) > 2 else value)
            value = shift = 0
    return runs if shift == 0 else None


def paint_box(box: Any, height: int, width: int, where: str) -> np.ndarray:
    """Bool [H,W] mask of COCO's box `[x, y, width, height]` in pixels; raises `DataError`."""
    if not isinstance(box, list) or len(box) != 4 or not all(is_number(value) for value in box):
        message = f"{where} has the box {short(box)}: give [x, y, width, height] in pixels, finite numbers."
        raise DataError(message, "polygon")
    x, y, across, down = box
    if across <= 0 or down <= 0:
        raise DataError(f"{where} has the box {short(box)}, which has no area: give [x, y, width, height].", "polygon")
    corners = np.array([[x, y], [x + across, y], [x + across, y + down], [x, y + down]], dtype=np.float64)
    return paint_polygon(corners, height, width)


def read_mask(path: Path, height: int, width: int) -> np.ndarray:
    """Bool [H,W] mask from a picture of the same size: everything but 0 is inside; raises `DataError`."""
    with opened(path) as image:
        fits = (image.height, image.width) == (height, width)
        channels = np.asarray(image.convert("L") if image.mode in ("P", "1", "LA", "RGB", "RGBA") else image)
        if image.mode == "P":
            channels = np.asarray(image)  # the index, not the colour it stands for
    if not fits:
        have, need = f"{channels.shape[1]} x {channels.shape[0]}", f"{width} x {height}"
        raise DataError(
            f"{path} is {have} pixels, its picture {need}: a mask needs the size of its picture.", "mask-size"
        )
    return channels != 0


def read_index_map(path: Path, height: int, width: int) -> np.ndarray:
    """int64 [H,W] map of class indices from a one-channel picture of the same size; raises `DataError`."""
    with opened(path) as image:
        if image.mode not in ("L", "P", "I", "1") and not image.mode.startswith("I;16"):
            raise DataError(f"{path} has colours ({image.mode}), not class indices: use the label maps in one channel.")
        index_map = np.asarray(image).astype(np.int64)
    if index_map.shape != (height, width):
        have, need = f"{index_map.shape[1]} x {index_map.shape[0]}", f"{width} x {height}"
        raise DataError(f"{path} is {have} pixels, its picture {need}: restore the pair.", "mask-size")
    return index_map
