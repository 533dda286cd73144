"""Outlines to masks, against pycocotools and against hostile input."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import HEIGHT, WIDTH, compressed, paint, uncompressed
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask

from lisa_core.data.masks import decode_rle, paint_box, paint_segmentation, polygon_points, read_index_map, read_mask
from lisa_core.errors import DataError

MASKS = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(lambda shape: arrays(bool, shape))
COORDINATES = st.floats(-HEIGHT, 2 * HEIGHT, width=32)  # further out, corners are moved to where painting them is cheap


@given(MASKS)
def test_run_lengths_come_back_whatever_their_form(mask: np.ndarray) -> None:
    height, width = mask.shape
    for form in (compressed(mask), uncompressed(mask)):
        assert np.array_equal(decode_rle(form, height, width, "x"), mask)
    as_bytes = compressed(mask) | {"counts": compressed(mask)["counts"].encode()}
    assert np.array_equal(decode_rle(as_bytes, height, width, "x"), mask)


@given(st.lists(st.integers(0, 300_000), min_size=1, max_size=12))
def test_long_runs_are_decompressed_as_pycocotools_writes_them(runs: list[int]) -> None:
    total = sum(runs)
    form = coco_mask.frPyObjects({"size": [total, 1], "counts": runs}, total, 1)
    expected = np.repeat(np.arange(len(runs)) % 2 == 1, runs)
    assert np.array_equal(decode_rle({"size": [total, 1], "counts": form["counts"]}, total, 1, "x").ravel(), expected)


@given(
    st.lists(st.lists(COORDINATES, min_size=6, max_size=12).filter(lambda p: len(p) % 2 == 0), min_size=1, max_size=3)
)
def test_polygons_are_painted_as_coco_does(polygons: list[list[float]]) -> None:
    assert np.array_equal(paint_segmentation(polygons, HEIGHT, WIDTH, "x"), paint(polygons))


def test_a_list_of_run_lengths_is_united() -> None:
    first, second = np.zeros((4, 5), bool), np.zeros((4, 5), bool)
    first[0], second[:, 1] = True, True
    assert np.array_equal(paint_segmentation([compressed(first), uncompressed(second)], 4, 5, "x"), first | second)


@pytest.mark.parametrize(
    ("rle", "line"),
    [
        ({"size": [4, 4], "counts": [17]}, "do not add up to 4 x 4"),
        ({"size": [4, 4], "counts": [2**40, 3]}, "do not add up"),
        ({"size": [4, 4], "counts": [-3, 19]}, "do not add up"),
        ({"size": [4, 4], "counts": [16.0]}, "do not add up"),
        ({"size": [4, 4], "counts": [True] * 16}, "do not add up"),
        ({"size": [4, 4], "counts": "oooooooooooooooooooooo"}, "do not add up"),
        ({"size": [4, 4], "counts": "~~\x00ü"}, "do not add up"),
        ({"size": [4, 4], "counts": None}, "do not add up"),
        ({"size": [4, 4]}, "do not add up"),
        ({"size": [5, 4], "counts": [20]}, r"size \[5, 4\], its picture is \[4, 4\]"),
        ({"size": [10**9, 10**9], "counts": [10**18]}, "its picture is"),
        ({"counts": [16]}, "size null"),
    ],
)
def test_run_lengths_that_do_not_fit_are_one_line(rle: dict[str, Any], line: str) -> None:
    with pytest.raises(DataError, match=f"^file.json: annotation 3.*{line}") as caught:
        decode_rle(rle, 4, 4, "file.json: annotation 3")
    assert "\n" not in str(caught.value)


@given(st.text(st.characters(max_codepoint=200), max_size=30))
def test_no_compressed_text_does_more_than_fail(counts: str) -> None:
    with contextlib.suppress(DataError):
        assert decode_rle({"size": [6, 7], "counts": counts}, 6, 7, "x").shape == (6, 7)


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("polygon", "line"),
    [
        ([1, 1, 2, 2, 3, NAN], "not finite"),
        ([1, 1, 2, 2, 3, INF], "not finite"),
        ([1, 1, 2, 2, 3, "4"], "not finite"),
        ([1, 1, 2, 2, 3, 10**400], "not finite"),
        ([1, 1, 2, 2], "at least 3 points"),
        ([1, 1, 2, 2, 3, 3, 4], "at least 3 points"),
        ("polygon", "at least 3 points"),
        ([[1, 1], [2, 2], [3, NAN]], "not finite"),
        ([[1, 1], [2, 2]], "at least 3 points"),
        ([[1, 1], [2, 2, 2], [3, 3]], r"not all \[x, y\]"),
    ],
)
def test_bad_polygons_are_one_line(polygon: Any, line: str) -> None:
    with pytest.raises(DataError, match=f"^here .*{line}") as caught:
        polygon_points(polygon, "here")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("segmentation", [None, [], "text", 3])
def test_no_outline_is_one_line(segmentation: Any) -> None:
    with pytest.raises(DataError, match=r"^here has no outline"):
        paint_segmentation(segmentation, 4, 4, "here")


def test_points_may_be_pairs() -> None:
    assert np.array_equal(polygon_points([[0, 1], [2, 3], [4, 5]], "x"), polygon_points([0, 1, 2, 3, 4, 5], "x"))


def test_a_box_is_filled_and_cut_at_the_edge() -> None:
    expected = np.zeros((6, 8), bool)
    expected[2:6, 5:8] = True
    assert np.array_equal(paint_box([5, 2, 100, 100], 6, 8, "x"), expected)
    for box in ([1, 2, 3], [1, 2, 0, 4], [1, 2, NAN, 4], "box", None):
        with pytest.raises(DataError, match=r"^here has the box"):
            paint_box(box, 6, 8, "here")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "I;16"])
def test_every_kind_of_mask_picture(tmp_path: Path, mode: str) -> None:
    mask = np.zeros((5, 7), np.uint8)
    mask[1:3, 2:6] = 1
    if mode == "P":
        image = Image.fromarray(mask)
        image.putpalette([9, 9, 9, 0, 0, 0])  # index 1 is black, index 0 is not
    elif mode == "I;16":
        image = Image.fromarray(mask.astype(np.uint16) * 256)
    else:
        image = Image.fromarray(mask * 255).convert(mode)
    image.save(tmp_path / "mask.png")
    assert np.array_equal(read_mask(tmp_path / "mask.png", 5, 7), mask == 1)
    with pytest.raises(DataError, match=r"mask\.png is 7 x 5 pixels, its picture 5 x 7"):
        read_mask(tmp_path / "mask.png", 7, 5)


def test_index_maps_keep_their_indices_and_colours_are_refused(tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    image = Image.fromarray(values)
    image.putpalette(list(range(256)) * 3)
    image.save(tmp_path / "p.png")
    Image.fromarray(values.astype(np.uint16) * 200).save(tmp_path / "i.png")
    Image.fromarray(values).convert("RGB").save(tmp_path / "c.png")
    assert np.array_equal(read_index_map(tmp_path / "p.png", 3, 4), values)
    assert np.array_equal(read_index_map(tmp_path / "i.png", 3, 4), values.astype(int) * 200)
    with pytest.raises(DataError, match=r"c\.png has colours \(RGB\)"):
        read_index_map(tmp_path / "c.png", 3, 4)
    with pytest.raises(DataError, match=r"p\.png is 4 x 3 pixels, its picture 5 x 3"):
        read_index_map(tmp_path / "p.png", 3, 5)
