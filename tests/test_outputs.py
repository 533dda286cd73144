from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image
from pycocotools import mask as coco_mask

from lisa_core.errors import ConfigError
from lisa_core.outputs import mask_to_box, mask_to_rle, overlay, save_mask_png, write_outputs

MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))


@dataclass
class Drawn:
    text: str
    mask: np.ndarray
    score: float = 0.75


def rectangle(h: int = 30, w: int = 50, y: int = 5, x: int = 10, height: int = 12, width: int = 20) -> np.ndarray:
    mask = np.zeros((h, w), bool)
    mask[y : y + height, x : x + width] = True
    return mask


def rle_to_mask(rle: dict[str, Any]) -> np.ndarray:
    return coco_mask.decode({**rle, "counts": rle["counts"].encode()}).astype(bool)


def picture(h: int = 30, w: int = 50) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 200, (h, w, 3), dtype=np.uint8))


@given(MASKS)
def test_rle_goes_through_json_and_back(mask: np.ndarray) -> None:
    rle = json.loads(json.dumps(mask_to_rle(mask)))
    assert rle["size"] == list(mask.shape)
    back = rle_to_mask(rle)
    assert back.dtype == np.bool_
    assert np.array_equal(back, mask)
    assert coco_mask.area({"size": rle["size"], "counts": rle["counts"].encode()}) == mask.sum()


def test_rle_is_column_by_column_as_coco_wants() -> None:
    mask = np.zeros((2, 3), bool)
    mask[:, 1] = True  # 2 off, 2 on, 2 off going down the columns
    assert mask_to_rle(mask) == {"size": [2, 3], "counts": "222"}


def test_rle_of_a_large_mask_holds_long_runs() -> None:
    mask = rectangle(3000, 2000, 700, 900, 1500, 1000)
    assert np.array_equal(rle_to_mask(mask_to_rle(mask)), mask)


@given(MASKS)
def test_box_is_the_tightest(mask: np.ndarray) -> None:
    box = mask_to_box(mask)
    if not mask.any():
        assert box is None
        return
    assert box is not None
    x, y, w, h = box
    inside = mask[y : y + h, x : x + w]
    assert inside.sum() == mask.sum()
    assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1]))
    assert all(type(value) is int for value in box)


@pytest.mark.parametrize("mask", [np.zeros((2, 2), np.uint8), np.zeros(4, bool), np.zeros((0, 3), bool)])
def test_what_is_not_a_mask_is_refused(mask: np.ndarray, tmp_path: Path) -> None:
    for function in (mask_to_rle, mask_to_box):
        with pytest.raises(ValueError, match="bool"):
            function(mask)
    with pytest.raises(ValueError, match="bool"):
        save_mask_png(mask, tmp_path / "mask.png")
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
def test_overlay_tints_inside_and_leaves_the_rest(mode: str) -> None:
    image, mask = picture().convert(mode), rectangle()
    before = image.copy()
    drawn = overlay(image, mask, (255, 0, 0), 0.5)
    assert image == before
    assert (drawn.mode, drawn.size) == ("RGB", image.size)
    pixels, original = np.asarray(drawn), np.asarray(image.convert("RGB"))
    far = np.ones_like(mask)
    far[4:18, 9:31] = False  # the mask and the white rim one pixel around it
    assert np.array_equal(pixels[far], original[far])
    deep = rectangle(y=6, x=11, height=10, width=18)
    assert np.array_equal(pixels[deep], np.rint(original[deep] * 0.5 + np.array([127.5, 0, 0])).astype(np.uint8))


def test_overlay_outlines_with_the_colour_inside_and_white_outside() -> None:
    pixels = np.asarray(overlay(picture(), rectangle(), (1, 2, 3), 0.5))
    edge = rectangle() & ~rectangle(y=6, x=11, height=10, width=18)
    rim = rectangle(y=4, x=9, height=14, width=22) & ~rectangle()
    assert (pixels[edge] == (1, 2, 3)).all()
    assert (pixels[rim] == 255).all()


def test_overlay_outlines_a_mask_at_the_border_and_a_single_pixel() -> None:
    full = np.asarray(overlay(picture(), np.ones((30, 50), bool), (1, 2, 3), 0.0))
    assert (full[0] == (1, 2, 3)).all()
    assert (full[:, -1] == (1, 2, 3)).all()
    assert np.array_equal(full[1:-1, 1:-1], np.asarray(picture())[1:-1, 1:-1])
    dot = np.asarray(overlay(picture(), rectangle(y=8, x=8, height=1, width=1), (1, 2, 3), 0.0))
    assert (dot[8, 8] == (1, 2, 3)).all()
    assert (dot[7, 8] == 255).all()


def test_overlay_of_nothing_is_the_image() -> None:
    assert overlay(picture(), np.zeros((30, 50), bool)) == picture()


def test_overlay_refuses_a_turned_mask_and_a_bad_alpha() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        overlay(picture(), np.zeros((50, 30), bool))
    with pytest.raises(ValueError, match="alpha"):
        overlay(picture(), rectangle(), alpha=45)


def test_mask_png_is_grey_0_and_255(tmp_path: Path) -> None:
    path = tmp_path / "mask.png"
    path.write_text("an older file")
    save_mask_png(rectangle(), path)
    with Image.open(path) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        assert np.array_equal(np.asarray(image), rectangle() * np.uint8(255))
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_put_in_place_in_one_step(tmp_path: Path) -> None:
    other, path = tmp_path / "photo.png", tmp_path / "mask.png"
    other.write_text("a photo")
    path.symlink_to(other)
    save_mask_png(rectangle(), path)
    assert other.read_text() == "a photo", "written in place, it would have gone through the link"
    assert not path.is_symlink()


def test_write_outputs_writes_all_that_the_json_names(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    masks = [rectangle(), np.zeros((30, 50), bool)]
    drawn = [Drawn("the red square ☂", masks[0], np.float32(0.5)), Drawn("nothing", masks[1])]  # type: ignore[arg-type]
    path = write_outputs(out, "cat", picture(), drawn, image_path=Path("photos/cat.jpg"))
    assert path == out / "cat.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert (record["image"], record["height"], record["width"]) == ("photos/cat.jpg", 30, 50)
    first, second = record["segmentations"]
    assert (first["text"], first["score"], first["area"]) == ("the red square ☂", 0.5, 240)
    assert (first["box"], second["box"], second["area"]) == ([10, 5, 20, 12], None, 0)
    for k, (entry, mask) in enumerate(zip([first, second], masks, strict=True)):
        assert (entry["mask_file"], entry["overlay_file"]) == (f"cat_{k}_mask.png", f"cat_{k}_overlay.png")
        assert np.array_equal(rle_to_mask(entry["rle"]), mask)
        with Image.open(out / entry["mask_file"]) as image:
            assert np.array_equal(np.asarray(image) == 255, mask)
        with Image.open(out / entry["overlay_file"]) as image:
            assert (image.mode, image.size) == ("RGB", (50, 30))
    assert len(list(out.iterdir())) == 5, "no temporary file stays"


def test_write_outputs_keeps_a_sentence_that_is_not_text(tmp_path: Path) -> None:
    path = write_outputs(tmp_path, "a", picture(), [Drawn("caf\udce9", rectangle())])
    assert json.loads(path.read_bytes())["segmentations"][0]["text"] == "caf\udce9"
    assert json.loads(path.read_bytes())["image"] is None


@pytest.mark.parametrize("name", ["cat_0_mask.png", "cat_0_overlay.png"])
def test_write_outputs_never_replaces_the_input(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    picture().save(source)
    before = source.read_bytes()
    (tmp_path / "sub").mkdir()
    for image_path in (source, tmp_path / "sub" / ".." / name):
        with pytest.raises(ConfigError, match="is the input image"):
            write_outputs(tmp_path, "cat", picture(), [Drawn("it", rectangle())], image_path=image_path)
    assert source.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "sub"]), "nothing else was written"


def test_write_outputs_beside_the_input_and_again(tmp_path: Path) -> None:
    source = tmp_path / "cat.png"
    picture().save(source)
    before = source.read_bytes()
    for text in ("first", "second"):
        path = write_outputs(tmp_path, "cat", picture(), [Drawn(text, rectangle())], image_path=source)
    assert json.loads(path.read_bytes())["segmentations"][0]["text"] == "second"
    assert source.read_bytes() == before


def test_write_outputs_into_a_file_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(ConfigError, match="choose another output directory") as caught:
        write_outputs(tmp_path / "taken", "cat", picture(), [Drawn("it", rectangle())], image_path=tmp_path / "taken")
    assert "\n" not in str(caught.value)


def test_write_outputs_with_a_name_too_long_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="too long"):
        write_outputs(tmp_path, "x" * 300, picture(), [Drawn("it", rectangle())], image_path=tmp_path)


@pytest.mark.parametrize("stem", ["", "a/b", "../a", "/a"])
def test_write_outputs_stays_in_its_directory(tmp_path: Path, stem: str) -> None:
    with pytest.raises(ValueError, match="bare file name"):
        write_outputs(tmp_path / "out", stem, picture(), [Drawn("it", rectangle())])


def test_write_outputs_checks_everything_before_it_writes(tmp_path: Path) -> None:
    out = tmp_path / "out"
    for bad in (Drawn("it", rectangle(), float("nan")), Drawn("it", rectangle(h=31))):
        with pytest.raises(ValueError, match=r"JSON|does not fit"):
            write_outputs(out, "cat", picture(), [Drawn("fine", rectangle()), bad])
    assert not out.exists()


def test_a_failed_write_leaves_the_old_file_and_no_temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mask.png"
    save_mask_png(rectangle(), path)
    before = path.read_bytes()

    def half(self: Image.Image, target: Path, format: str) -> None:
        target.write_bytes(b"half a picture")
        raise OSError("disk full")

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(OSError, match="disk full"):
        save_mask_png(~rectangle(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
