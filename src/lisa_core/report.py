"""One picture of what a model draws: image, truth and prediction side by side, under the sentence."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from lisa_core.errors import ConfigError
from lisa_core.outputs import Color, overlay
from lisa_core.types import IGNORE

TRUTH_COLOR: Color = (40, 190, 95)
PREDICTION_COLOR: Color = (255, 95, 30)

_PAGE, _CARD, _EDGE = (233, 236, 240), (255, 255, 255), (208, 213, 220)
_LETTERBOX, _INK, _FAINT, _IGNORED = (241, 243, 245), (28, 32, 38), (112, 120, 130), (120, 120, 120)
_POOR, _FAIR, _GOOD = (200, 45, 45), (190, 120, 0), (25, 135, 70)
_MARGIN, _PAD, _GAP = 18, 14, 8  # around the page and between cards; inside a card; between tiles
_TEXT_SIZE, _LABEL_SIZE, _TITLE_SIZE, _LEADING = 17, 13, 22, 1.3
_MAX_LINES = 3


@dataclass(frozen=True)
class SheetRow:
    """One sentence on the contact sheet."""

    image: Image.Image
    """The picture, any mode and size."""
    text: str
    """The sentence."""
    truth: np.ndarray
    """uint8 [H,W] of the image's size: 0, 1 and 255 (ignored, drawn grey)."""
    prediction: np.ndarray
    """Bool [H,W] of the image's size."""
    iou: float
    """IoU of the prediction in 0..1."""


def contact_sheet(
    rows: Sequence[SheetRow],
    columns: int = 2,
    tile: tuple[int, int] = (232, 176),
    title: str | None = None,
    font: Path | None = None,
) -> Image.Image:
    """All rows as cards on one RGB picture, filled from left to right.

    A card has the sentence (wrapped; cut with "..." after three lines), the IoU (red below 0.5, amber below 0.7, else
    green), and the image, the truth and the prediction, each scaled to fit its tile with its own proportions kept.

    Args:
        rows: what to show, in order.
        columns: cards side by side; fewer when there are fewer rows.
        tile: (width, height) of one of a card's three tiles in pixels, each at least 32.
        title: a line over the cards.
        font: a TrueType or OpenType file, for sentences beyond ASCII; Pillow's built-in font has no more letters, so
            without a file accents are left off and other scripts show as boxes.

    Raises:
        ValueError: no row, `columns` below 1, a tile too small, or a mask that is not of its image's size or not bool.
        ConfigError: the font file cannot be read.
    """
    if not rows or columns < 1 or min(tile) < 32:
        raise ValueError(
            f"need rows, a column and tiles of 32 pixels: {len(rows)} rows, {columns} columns, tile {tile}"
        )
    fonts = _fonts(font)
    texts = [row.text if font else _without_accents(row.text) for row in rows]
    text_width = 3 * tile[0] + 2 * _GAP
    lines = [_wrap(text, fonts.text, text_width - fonts.iou_width - 2 * _PAD, _MAX_LINES) for text in texts]
    columns = min(columns, len(rows))
    card_width = text_width + 2 * _PAD
    top = _MARGIN + (round(_TITLE_SIZE * _LEADING) + _MARGIN // 2 if title else 0)
    below_caption = tile[1] + 2 * _LABEL_SIZE + _PAD // 2
    # Cards side by side are as tall as the longest caption among them, so that their tiles stand in one line.
    bands = [lines[start : start + columns] for start in range(0, len(rows), columns)]
    captions = [round(max(map(len, band)) * _TEXT_SIZE * _LEADING) + _GAP for band in bands]
    heights = [_PAD + caption + below_caption for caption in captions]
    size = (_MARGIN + columns * (card_width + _MARGIN), top + sum(height + _MARGIN for height in heights))
    sheet = Image.new("RGB", size, _PAGE)
    draw = ImageDraw.Draw(sheet)
    if title:
        heading = _wrap(title if font else _without_accents(title), fonts.title, size[0] - 2 * _MARGIN, 1)[0]
        draw.text((_MARGIN, _MARGIN), heading, fill=_INK, font=fonts.title)
    y = top
    for band, (caption, height) in enumerate(zip(captions, heights)):
        for column, row in enumerate(rows[band * columns : (band + 1) * columns]):
            x = _MARGIN + column * (card_width + _MARGIN)
            draw.rounded_rectangle((x, y, x + card_width - 1, y + height - 1), radius=6, fill=_CARD, outline=_EDGE)
            text = "\n".join(lines[band * columns + column])
            _draw_caption(draw, (x + _PAD, y + _PAD), text, row.iou, text_width, fonts)
            for k, (label, picture) in enumerate(_tiles(row, tile)):
                left, upper = x + _PAD + k * (tile[0] + _GAP), y + _PAD + caption
                sheet.paste(picture, (left, upper))
                middle = (left + tile[0] // 2, upper + tile[1] + _LABEL_SIZE)
                draw.text(middle, label, fill=_FAINT, font=fonts.label, anchor="mm")
        y += height + _MARGIN
    return sheet


@dataclass(frozen=True)
class _Fonts:
    """The sheet's fonts, and how wide the widest IoU is in pixels."""

    title: ImageFont.FreeTypeFont | ImageFont.ImageFont
    text: ImageFont.FreeTypeFont | ImageFont.ImageFont
    label: ImageFont.FreeTypeFont | ImageFont.ImageFont
    iou_width: int


def _fonts(path: Path | None) -> _Fonts:
    """The fonts from a file, or Pillow's own."""

    def load(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        return ImageFont.load_default(size) if path is None else ImageFont.truetype(str(path), size)

    try:
        title, text, label = load(_TITLE_SIZE), load(_TEXT_SIZE), load(_LABEL_SIZE)
    except OSError as error:
        raise ConfigError(f"cannot read the font {path}: {error}; give a TrueType or OpenType file") from error
    return _Fonts(title, text, label, round(text.getlength("IoU 0.00")))


def _draw_caption(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, iou: float, width: int, fonts: _Fonts
) -> None:
    """The sentence from `at` (x, y) on and the IoU at the right end of its first line."""
    spacing = _TEXT_SIZE * _LEADING
    for k, line in enumerate(text.split("\n")):
        draw.text((at[0], at[1] + round(k * spacing)), line, fill=_INK, font=fonts.text, anchor="la")
    color = _POOR if iou < 0.5 else _FAIR if iou < 0.7 else _GOOD
    draw.text((at[0] + width, at[1]), f"IoU {iou:.2f}", fill=color, font=fonts.text, anchor="ra")


def _tiles(row: SheetRow, tile: tuple[int, int]) -> list[tuple[str, Image.Image]]:
    """The three labelled pictures of a row, each exactly `tile` (width, height) large."""
    for name, mask in (("truth", row.truth), ("prediction", row.prediction)):
        if mask.shape != (row.image.height, row.image.width):
            raise ValueError(f"the {name} {mask.shape} (H, W) does not fit the image {row.image.size} (width, height)")
    if row.prediction.dtype != np.bool_:
        raise ValueError(f"the prediction must be bool (logit > 0), not {row.prediction.dtype}")
    # Masks are drawn on the scaled picture, so that outlines are equally thin on small and on large images.
    image = ImageOps.contain(row.image.convert("RGB"), tile, Image.Resampling.LANCZOS)
    # Behind the masks the picture loses most of its colour, or a tint would drown in an object of the same colour.
    faded = Image.blend(image, ImageOps.grayscale(image).convert("RGB"), 0.75)
    ignored = scaled(row.truth == IGNORE, image.size)
    behind = faded.copy()
    behind.paste(_IGNORED, mask=Image.fromarray(ignored.astype(np.uint8) * 180))
    truth = overlay(behind, scaled(row.truth == 1, image.size), TRUTH_COLOR)
    prediction = overlay(faded, scaled(row.prediction, image.size), PREDICTION_COLOR)
    return [
        (label, ImageOps.pad(picture, tile, color=_LETTERBOX))
        for label, picture in (("image", image), ("truth", truth), ("prediction", prediction))
    ]


def scaled(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bool [h,w] of a bool [H,W] mask at another size (width, height); a mask that is not empty stays so."""
    shares = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.BILINEAR))
    kept: np.ndarray = shares >= min(128, max(1, int(shares.max())))
    return kept


def _without_accents(text: str) -> str:
    """The text with each accented letter as its bare one."""
    return "".join(
        character for character in unicodedata.normalize("NFKD", text) if not unicodedata.combining(character)
    )


def _wrap(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int, max_lines: int) -> list[str]:
    """The text in lines no wider than `width` pixels, broken at spaces, or within a word that is wider by itself."""

    def fits(line: str) -> bool:
        return font.getlength(line) <= width

    lines = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if fits(joined):
            lines[-1] = joined
            continue
        if lines[-1]:
            lines.append("")
        for character in word:
            if lines[-1] and not fits(lines[-1] + character):
                lines.append("")
            lines[-1] += character
    if len(lines) > max_lines:
        last = lines[max_lines - 1]
        while last and not fits(last + "..."):
            last = last[:-1]
        lines = [*lines[: max_lines - 1], last.rstrip() + "..."]
    return lines
