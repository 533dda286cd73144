"""The samples of an HTML report: a sentence with its picture, its truth, the prediction and where the two overlap."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lisa_core.outputs import Color
from lisa_core.records import SampleRecord
from lisa_core.report import scaled
from lisa_core.types import IGNORE

BOTH: Color = (86, 180, 233)
"""Of pixels in truth and prediction; the three can be told apart by whoever sees no red or no green."""
TRUTH_ONLY: Color = (0, 158, 115)
"""Of pixels that were missed, and of the truth."""
PREDICTION_ONLY: Color = (230, 120, 0)
"""Of pixels that were drawn wrongly, and of the prediction."""
IGNORED: Color = (120, 120, 120)
"""Of pixels that do not count."""
SIDE = 280
"""Longest side of a picture on the page, in pixels."""

Keep = Callable[[str, bytes], str]
"""Takes a file name and a picture's bytes, and returns the address the page finds it under."""


@dataclass(frozen=True)
class Shown:
    """One sentence to be shown."""

    record: SampleRecord
    """Its counts."""
    image: Image.Image
    """The picture."""
    truth: np.ndarray
    """uint8 [H,W]: 0, 1 and 255 (ignored)."""
    predictions: list[tuple[str, np.ndarray, float]]
    """Who drew what, bool [H,W], and its IoU."""
    reply: str | None = None
    """What the model said."""


@dataclass
class FilesBeside:
    """Keeps pictures as files of a folder."""

    folder: Path
    """Where the page is."""
    name: str = "images"
    """Folder of the pictures within."""
    written: list[Path] = field(default_factory=list)
    """All files so far."""

    def __call__(self, name: str, data: bytes) -> str:
        """Write a file, and return its address."""
        path = self.folder / self.name / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        self.written.append(path)
        return f"{self.name}/{name}"


def inline(name: str, data: bytes) -> str:
    """A picture as an address that holds it."""
    kind = "jpeg" if name.endswith(".jpg") else "png"
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def card(shown: Shown, number: str, keep: Keep) -> str:
    """The HTML of one sample.

    Args:
        shown: what to show.
        number: a name for its files, of letters and digits.
        keep: where the pictures go.
    """
    record, alone = shown.record, len(shown.predictions) == 1
    picture = ImageOps.contain(shown.image.convert("RGB"), (SIDE, SIDE), Image.Resampling.LANCZOS)
    source = keep(f"{number}.jpg", encoded(picture, "JPEG"))
    truth, ignored = scaled(shown.truth == 1, picture.size), scaled(shown.truth == IGNORE, picture.size)
    layers = [("truth", "truth", [(truth, TRUTH_ONLY), (ignored, IGNORED)])]
    for k, (who, mask, _) in enumerate(shown.predictions):
        drawn = scaled(mask, picture.size)
        parts = [(truth & ~drawn, TRUTH_ONLY), (drawn & ~truth, PREDICTION_ONLY), (drawn & truth, BOTH)]
        parts.append((ignored, IGNORED))
        if alone:
            layers.append((f"prediction{k}", who, [(drawn, PREDICTION_ONLY)]))
        layers.append((f"overlap{k}", "overlap" if alone else f"{who} over truth", parts))
    size = f'width="{picture.width}" height="{picture.height}"'
    tiles = [f'<figure><div class="stack"><img src="{source}" {size} alt="the picture"></div>']
    tiles[0] += "<figcaption>picture</figcaption></figure>"
    for name, label, colored in layers:
        layer = keep(f"{number}_{name}.png", encoded(colored_layer(colored), "PNG"))
        tiles.append(
            f'<figure><div class="stack"><img class="under" src="{source}" {size} alt="">'
            f'<img class="mask" src="{layer}" {size} alt="{escape(label)}"></div>'
            f"<figcaption>{escape(label)}</figcaption></figure>"
        )
    badges = "".join(_badge("IoU" if alone else who, iou) for who, _, iou in shown.predictions)
    facts = [record.id, record.image, f"{record.words} words", f"truth {record.mask_share:.1%} of the picture"]
    if alone and record.score is not None:
        facts.append(f"score {record.score:.2f}")
    if alone and not record.answered:
        facts.append("no mask")
    if alone and record.boundary_iou is not None:
        facts.append(f"boundary IoU {record.boundary_iou:.2f}")
    reply = "" if shown.reply is None else f'<p class="reply" dir="auto">reply: {escape(shown.reply)}</p>'
    searched = " ".join([record.text, record.id, record.image, record.source, shown.reply or ""]).lower()
    return (
        f'<article class="card" data-text="{escape(searched)}"><header>{badges}'
        f'<p class="sentence" dir="auto">{escape(record.text)}</p></header>'
        f'<p class="facts">{escape(" · ".join(facts))}</p>{reply}<div class="tiles">{"".join(tiles)}</div></article>\n'
    )


def _badge(label: str, iou: float) -> str:
    quality = "poor" if iou < 0.5 else "fair" if iou < 0.7 else "good"
    return f'<span class="badge {quality}">{escape(label)} {iou:.2f}</span>'


def colored_layer(colored: Sequence[tuple[np.ndarray, Color]]) -> Image.Image:
    """A picture that is clear but for the masks; bool [h,w] each."""
    pixels = np.zeros((*colored[0][0].shape, 4), np.uint8)
    for mask, color in colored:
        pixels[mask] = (*color, 255)
    return Image.fromarray(pixels)


def encoded(picture: Image.Image, format: str) -> bytes:
    """A picture's file, JPEG or PNG."""
    buffer = io.BytesIO()
    picture.save(buffer, format=format, **({"quality": 85} if format == "JPEG" else {"optimize": True}))
    return buffer.getvalue()
