from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from lisa_core.errors import ConfigError
from lisa_core.report import _LETTERBOX, PREDICTION_COLOR, TRUTH_COLOR, SheetRow, _tiles, _wrap, contact_sheet, scaled
from lisa_core.types import IGNORE

FONT = ImageFont.load_default(17)
TILE = (120, 90)


def row(w: int = 60, h: int = 60, text: str = "the square", iou: float = 0.8, mode: str = "RGB") -> SheetRow:
    """A dark picture; the truth is its left half, the prediction its upper half."""
    truth, prediction = np.zeros((h, w), np.uint8), np.zeros((h, w), bool)
    truth[:, : w // 2] = 1
    prediction[: h // 2] = True
    return SheetRow(Image.new("RGB", (w, h), (20, 30, 40)).convert(mode), text, truth, prediction, iou)


def tinted(picture: Image.Image, at: tuple[int, int], color: tuple[int, int, int], base: tuple[int, int, int]) -> bool:
    """Whether the pixel at (x, y) is the base tinted with the colour, up to the fading of the background."""
    pixel = np.asarray(picture.getpixel(at), float)
    expected = 0.45 * np.asarray(color) + 0.55 * np.asarray(base)
    return bool(np.abs(pixel - expected).max() < 12)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
@pytest.mark.parametrize(("w", "h"), [(60, 60), (320, 100), (50, 200), (1500, 1125), (7, 3)])
def test_tiles_keep_proportions_and_are_letterboxed(w: int, h: int, mode: str) -> None:
    tiles = _tiles(row(w, h, mode=mode), TILE)
    assert [label for label, _ in tiles] == ["image", "truth", "prediction"]
    scale = min(TILE[0] / w, TILE[1] / h)
    for _, picture in tiles:
        assert (picture.mode, picture.size) == ("RGB", TILE)
        framed = np.any(np.asarray(picture) != _LETTERBOX, axis=2)
        ys, xs = np.nonzero(framed)
        assert abs(np.ptp(xs) + 1 - w * scale) <= 1
        assert abs(np.ptp(ys) + 1 - h * scale) <= 1
        assert abs(xs.min() + xs.max() + 1 - TILE[0]) <= 1, "centred"
        assert abs(ys.min() + ys.max() + 1 - TILE[1]) <= 1, "centred"


def test_each_mask_is_drawn_in_its_own_tile_and_place() -> None:
    (_, image), (_, truth), (_, prediction) = _tiles(row(120, 90), TILE)
    lower_left, upper_right, lower_right = (20, 75), (100, 15), (100, 75)
    dark = (20, 30, 40)
    assert all(image.getpixel(at) == dark for at in (lower_left, upper_right, lower_right))
    assert tinted(truth, lower_left, TRUTH_COLOR, dark)
    assert not tinted(truth, upper_right, TRUTH_COLOR, dark)
    assert tinted(prediction, upper_right, PREDICTION_COLOR, dark)
    assert not tinted(prediction, lower_left, PREDICTION_COLOR, dark)
    assert truth.getpixel(lower_right) == prediction.getpixel(lower_right)


def test_ignored_pixels_are_grey_in_the_truth_only() -> None:
    plain, with_ignored = row(120, 90), row(120, 90)
    with_ignored.truth[60:, 80:] = IGNORE
    before, after = _tiles(plain, TILE), _tiles(with_ignored, TILE)
    assert after[1][1].getpixel((100, 75)) != before[1][1].getpixel((100, 75))
    assert after[1][1].getpixel((20, 75)) == before[1][1].getpixel((20, 75))
    assert after[2][1] == before[2][1]


def test_a_mask_of_one_pixel_survives_scaling_down() -> None:
    mask = np.zeros((900, 1200), bool)
    assert not scaled(mask, TILE).any()
    mask[451, 601] = True
    found = scaled(mask, TILE)
    assert found.shape == (90, 120)
    assert abs(np.argwhere(found) - (45, 60)).max() <= 1


@given(st.text(max_size=200), st.integers(30, 400), st.integers(1, 4))
def test_wrapped_lines_fit_and_lose_nothing_but_the_end(text: str, width: int, max_lines: int) -> None:
    lines = _wrap(text, FONT, width, max_lines)
    assert 1 <= len(lines) <= max_lines
    assert all(FONT.getlength(line) <= width for line in lines)
    whole, shown = "".join(text.split()), "".join("".join(lines).split())
    assert shown == whole or (shown.endswith("...") and whole.startswith(shown[:-3]))


def test_wrapping_breaks_at_spaces() -> None:
    lines = _wrap("the small blue circle left of the large green triangle", FONT, 150, 9)
    assert len(lines) > 2
    assert " ".join(lines) == "the small blue circle left of the large green triangle"


@pytest.mark.parametrize(
    ("count", "columns", "across", "down"), [(1, 2, 1, 1), (4, 2, 2, 2), (5, 2, 2, 3), (3, 1, 1, 3)]
)
def test_sheet_grows_by_whole_cards(count: int, columns: int, across: int, down: int) -> None:
    one = contact_sheet([row()], 1, TILE)
    sheet = contact_sheet([row()] * count, columns, TILE)
    margin = 2 * one.width - contact_sheet([row()] * 2, 2, TILE).width
    assert sheet.mode == "RGB"
    assert sheet.size == (across * (one.width - margin) + margin, down * (one.height - margin) + margin)
    for k in range(count):
        left, top = k % columns * (one.width - margin), k // columns * (one.height - margin)
        assert sheet.crop((left, top, left + one.width, top + one.height)) == one, f"card {k}"


def test_tiles_of_cards_side_by_side_stand_in_one_line() -> None:
    long = row(text="a sentence that does not fit into a single line of such a narrow card by far")
    alone, pair = contact_sheet([long], 1, TILE), contact_sheet([row(), long], 2, TILE)
    assert alone.height == pair.height > contact_sheet([row()], 1, TILE).height
    tile_row = slice(alone.height - 100, alone.height - 60)
    left = np.asarray(pair)[tile_row, : alone.width - 18]
    assert np.array_equal(left, np.asarray(alone)[tile_row, : alone.width - 18])


def test_sentence_iou_and_title_are_shown() -> None:
    plain = contact_sheet([row()], tile=TILE)
    assert contact_sheet([row(text="the circle")], tile=TILE) != plain
    assert contact_sheet([row(iou=0.81)], tile=TILE) != plain
    titled = contact_sheet([row()], tile=TILE, title="Held-out images")
    more = titled.height - plain.height
    assert more > 0
    assert titled.crop((0, more + 18, plain.width, titled.height)) == plain.crop((0, 18, plain.width, plain.height))
    assert len(titled.crop((0, 0, plain.width, more)).getcolors() or []) > 2, "there is writing on the page"


@pytest.mark.parametrize(("iou", "channel"), [(0.2, 0), (0.95, 1)])
def test_iou_is_red_when_poor_and_green_when_good(iou: float, channel: int) -> None:
    sheet = np.asarray(contact_sheet([row(iou=iou)], tile=TILE), int)
    corner = sheet[18:50, -120:-30]
    colored = corner[np.ptp(corner, axis=2) > 80]
    assert len(colored) > 20
    assert (colored.argmax(axis=1) == channel).all()


def test_accents_are_left_off_without_a_font_that_has_them() -> None:
    assert contact_sheet([row(text="café")], tile=TILE) == contact_sheet([row(text="cafe")], tile=TILE)


def test_own_font_is_used_and_a_bad_one_is_one_clear_line(tmp_path: Path) -> None:
    built_in = ImageFont.load_default(10)
    assert isinstance(built_in, ImageFont.FreeTypeFont)
    good, bad = tmp_path / "good.ttf", tmp_path / "bad.ttf"
    built_in.path.seek(0)  # type: ignore[union-attr]
    good.write_bytes(built_in.path.read())  # type: ignore[union-attr]
    bad.write_text("not a font")
    assert contact_sheet([row(text="café")], tile=TILE, font=good) != contact_sheet([row(text="cafe")], tile=TILE)
    for path in (bad, tmp_path / "missing.ttf"):
        with pytest.raises(ConfigError, match="cannot read the font") as caught:
            contact_sheet([row()], font=path)
        assert "\n" not in str(caught.value)


def test_inputs_are_left_as_they_were() -> None:
    given_row = row()
    image, truth, prediction = given_row.image.copy(), given_row.truth.copy(), given_row.prediction.copy()
    contact_sheet([given_row], tile=TILE)
    assert given_row.image == image
    assert np.array_equal(given_row.truth, truth)
    assert np.array_equal(given_row.prediction, prediction)


def test_what_cannot_be_laid_out_is_refused() -> None:
    for rows, columns, tile in (([], 2, TILE), ([row()], 0, TILE), ([row()], 1, (31, 90))):
        with pytest.raises(ValueError, match="need rows"):
            contact_sheet(rows, columns, tile)
    good = row(60, 40)
    turned = SheetRow(good.image, "it", good.truth.T, good.prediction, 0.5)
    with pytest.raises(ValueError, match=r"the truth .* does not fit"):
        contact_sheet([turned])
    logits = SheetRow(good.image, "it", good.truth, good.prediction.astype(np.float32) - 3, 0.5)
    with pytest.raises(ValueError, match="must be bool"):
        contact_sheet([logits])


def test_smallest_tile_still_works() -> None:
    sheet = contact_sheet([row(text="a long sentence about something very small")], tile=(32, 32))
    assert sheet.width < 200
