"""labelme's files: every kind of shape, pictures stored inside, and a line for what cannot be painted."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest
from builders import HEIGHT, WIDTH, labelme_shape
from PIL import Image

from lisa_core.data import IGNORE, ReasonSeg, group_by_image, open_dataset
from lisa_core.errors import DataError

SQUARE = [[2.0, 3.0], [12.0, 3.0], [12.0, 8.0], [2.0, 8.0]]


def write(root: Path, *shapes: Any, stem: str = "a", picture: bool = True, **more: Any) -> Path:
    folder = root / "train"
    folder.mkdir(parents=True, exist_ok=True)
    if picture:
        Image.new("RGB", (WIDTH, HEIGHT), (9, 8, 7)).save(folder / f"{stem}.png")
    content = {"version": "5", "shapes": list(shapes), "imagePath": f"{stem}.png", "imageData": None} | more
    (folder / f"{stem}.json").write_text(json.dumps(content))
    return root


def test_shapes_of_a_label_are_one_mask_and_those_ignored_lie_below(tmp_path: Path) -> None:
    write(
        tmp_path,
        labelme_shape("cup", SQUARE),
        labelme_shape("cup", [[20, 10], [18, 12]], "rectangle"),
        labelme_shape("ignore", [[0, 0], [24, 4]], "rectangle"),
        labelme_shape("red_ball", [[12, 9], [12, 14]], "circle"),
        labelme_shape("_background_", [[0, 0], [24, 18]], "rectangle"),
    )
    data = open_dataset(tmp_path, "train")
    assert [(s.id, s.text, s.is_sentence) for s in data.samples] == [
        ("train/a#cup", "cup", False),
        ("train/a#red_ball", "red ball", False),
    ]
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[:4] = IGNORE
    expected[3:8, 2:12] = 1
    expected[10:12, 18:20] = 1
    assert np.array_equal(data.load(0).mask, expected)
    y, x = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.hypot(x - 12, y - 9)
    ball = data.load(1).mask
    assert (ball[distance < 4.6] == 1).all() and not (ball[distance > 5.4] == 1).any()


def test_all_in_one_folder_gives_a_tenth_to_val(tmp_path: Path) -> None:
    builders.write_labelme(tmp_path / "flat", flat=True)
    sets = [open_dataset(tmp_path / "flat", split) for split in ("train", "val")]
    pictures = [{sample.image_path for sample in data.samples} for data in sets]
    assert len(pictures[0]) == 4 and len(pictures[1]) == 1 and not pictures[0] & pictures[1]
    with pytest.raises(DataError, match="no split 'test'"):
        open_dataset(tmp_path / "flat", "test")


def test_a_picture_may_be_stored_in_the_file(tmp_path: Path) -> None:
    Image.new("RGB", (WIDTH, HEIGHT), (1, 2, 3)).save(tmp_path / "x.png")
    data = base64.b64encode((tmp_path / "x.png").read_bytes()).decode()
    write(tmp_path / "set", labelme_shape("b", SQUARE), labelme_shape("a", SQUARE), picture=False, imageData=data)
    dataset = open_dataset(tmp_path / "set", "train", format="labelme")
    assert dataset.load(1).image.getpixel((0, 0)) == (1, 2, 3) and dataset.load(0).mask.sum() == 50
    assert group_by_image(dataset.samples) == [[0, 1]]
    write(tmp_path / "set", labelme_shape("b", SQUARE), picture=False, imageData="no base64")
    with pytest.raises(DataError, match=r"a\.json: `imageData` is not base64"):
        open_dataset(tmp_path / "set", "train").load(0)


@pytest.mark.parametrize("said", ["C:\\Users\\me\\a.png", "/home/me/a.png", "..\\train\\a.png", "./a.png"])
def test_the_picture_beside_the_file_counts_wherever_it_was(tmp_path: Path, said: str) -> None:
    write(tmp_path, labelme_shape("cup", SQUARE), imagePath=said)
    assert open_dataset(tmp_path, "train").samples[0].image_path == tmp_path / "train" / "a.png"


def test_the_picture_may_lie_elsewhere_in_the_set(tmp_path: Path) -> None:
    write(tmp_path, labelme_shape("cup", SQUARE), picture=False, imagePath="..\\pictures\\p.png")
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (WIDTH, HEIGHT)).save(tmp_path / "pictures" / "p.png")
    assert open_dataset(tmp_path, "train").load(0).mask.sum() == 50


def write_turned(root: Path, orientation: int, size: tuple[int, int] = (WIDTH, HEIGHT), **more: Any) -> Path:
    """A photograph of `size` stored pixels that EXIF turns, labelled."""
    write(root, labelme_shape("cup", SQUARE), imagePath="a.jpg", **more)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", size).save(root / "train" / "a.jpg", exif=exif)
    return root


@pytest.mark.parametrize("orientation", range(2, 9))
def test_a_photograph_that_labelme_showed_turned_is_not_read_as_it_is_stored(tmp_path: Path, orientation: int) -> None:
    data = open_dataset(write_turned(tmp_path, orientation), "train")
    with pytest.raises(DataError, match=rf"a\.jpg is stored turned \(EXIF orientation {orientation}\)") as caught:
        data.load(0)
    assert caught.value.kind == "mask-size"


def test_outlines_measured_on_the_stored_pixels_are_told_by_the_sides_after_a_quarter_turn_alone(
    tmp_path: Path,
) -> None:
    stored = {"imageWidth": WIDTH, "imageHeight": HEIGHT}
    assert open_dataset(write_turned(tmp_path / "quarter", 6, **stored), "train").load(0).mask.sum() == 50
    for name, orientation, size in (("half", 3, (WIDTH, HEIGHT)), ("square", 6, (WIDTH, WIDTH))):
        root = write_turned(tmp_path / name, orientation, size, imageWidth=size[0], imageHeight=size[1])
        with pytest.raises(DataError, match="stored turned"):
            open_dataset(root, "train").load(0)


@pytest.mark.parametrize("exif", [b"Exif\0\0no TIFF at all", b"Exif\0\0II*\0\xff\xff\xff\x7f", None])
def test_a_photograph_without_a_turn_is_read(tmp_path: Path, exif: bytes | None) -> None:
    root = write_turned(tmp_path, 1)
    if exif is not None:  # damaged
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "train" / "a.jpg", exif=exif)
    assert open_dataset(root, "train").load(0).mask.sum() == 50


def test_a_picture_of_another_size_than_was_labelled_is_named(tmp_path: Path) -> None:
    write(tmp_path, labelme_shape("cup", SQUARE), imageWidth=2 * WIDTH, imageHeight=2 * HEIGHT)
    message = rf"a\.json: it was labelled on a picture of {2 * WIDTH} x {2 * HEIGHT}, a\.png has {WIDTH} x {HEIGHT}"
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(tmp_path, "train").load(0)
    assert caught.value.kind == "mask-size"
    write(tmp_path, labelme_shape("cup", SQUARE), imageWidth=None, imageHeight="?")
    assert open_dataset(tmp_path, "train").load(0).mask.sum() == 50


def test_an_oriented_rectangle_is_its_four_corners(tmp_path: Path) -> None:
    diamond = [[10, 3], [16, 9], [10, 15], [4, 9]]
    write(tmp_path, labelme_shape("a", diamond, "oriented_rectangle"), labelme_shape("b", diamond))
    data = open_dataset(tmp_path, "train")
    assert data.load(0).mask.sum() > 60 and np.array_equal(data.load(0).mask, data.load(1).mask)


BAD = {
    "outside": ([labelme_shape("a", SQUARE)], {"imagePath": "../../x.png"}, "`imagePath` points outside"),
    "absolute": ([labelme_shape("a", SQUARE)], {"imagePath": "/etc/passwd"}, "`imagePath` names '/etc/passwd'"),
    "no path": ([labelme_shape("a", SQUARE)], {"imagePath": None}, "`imagePath` must be a file name"),
    "no shapes": ([], {"shapes": None}, "has no list `shapes`"),
    "a line": ([labelme_shape("a", SQUARE, "line")], {}, 'shape 0 is a "line", which has no area'),
    "no shape": ([3], {}, "shape 0 must be an object"),
    "no label": ([labelme_shape(" ", SQUARE)], {}, "the label of shape 0 must be"),
    "two points": ([labelme_shape("a", SQUARE[:2])], {}, "needs 3 points"),
    "three corners": ([labelme_shape("a", SQUARE[:3], "rectangle")], {}, "needs 2 points"),
    "two corners": ([labelme_shape("a", SQUARE[:2], "oriented_rectangle")], {}, "needs 4 points"),
    "nan": ([labelme_shape("a", [*SQUARE[:2], [1, float("nan")]])], {}, "finite numbers"),
    "inf": ([labelme_shape("a", [*SQUARE[:2], [float("inf"), 1]])], {}, "finite numbers"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_file_that_cannot_be_used_is_named_or_skipped(tmp_path: Path, case: str) -> None:
    shapes, more, message = BAD[case]
    write(tmp_path, *shapes, **more, picture="imagePath" not in more)
    (tmp_path / "x.png").write_bytes(b"secret")
    write(tmp_path, labelme_shape("good", SQUARE), stem="b")
    root = tmp_path
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(root, "train", format="labelme")
    assert "a.json" in str(caught.value) and "\n" not in str(caught.value)
    lenient = open_dataset(root, "train", on_error="skip", format="labelme")
    assert [s.text for s in lenient.samples] == ["good"] and lenient.skipped[0][0].name == "a.json"


def test_a_mask_that_leaves_the_picture_is_named(tmp_path: Path) -> None:
    crop = builders.png_text(np.ones((5, 5), bool))
    write(tmp_path, labelme_shape("a", [[20, 2], [24, 6]], "mask", mask=crop))
    with pytest.raises(DataError, match=r"a\.json: a mask of 5 x 5 at \(20, 2\) leaves the picture"):
        open_dataset(tmp_path, "train").load(0)
    write(tmp_path, labelme_shape("a", [[2, 2], [6, 6]], "mask", mask=3))
    with pytest.raises(DataError, match=r"a\.json: the mask of a shape is not base64"):
        open_dataset(tmp_path, "train").load(0)


def test_reasonseg_s_pairs_are_not_labelme_s(tmp_path: Path) -> None:
    write(tmp_path, labelme_shape("target", SQUARE), text=["the cup"], is_sentence=False)
    assert type(open_dataset(tmp_path, "train")) is ReasonSeg
