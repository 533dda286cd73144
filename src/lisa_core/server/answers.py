"""A model that answers about uploaded pictures: each is encoded once, one question is answered at a time."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

from PIL import Image

from lisa_core.data.picture_file import opened, upright
from lisa_core.errors import DataError
from lisa_core.outputs import mask_to_box, mask_to_rle
from lisa_core.segmenter import Segmentation, Segmenter
from lisa_core.server.limits import Limits, check_sentences

_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")  # what browsers show, so that a mask can be laid over it
_NAMED = ", ".join(_FORMATS)
_AT_ONCE = 32_000_000  # pixels of masks that are drawn in one pass, 4 bytes each


class Answers:
    """Answers about the pictures that came last without encoding them again; may be asked from several threads.

    Args:
        segmenter: whose model answers.
        limits: of each request.
        kept: pictures whose encodings are kept.
    """

    def __init__(self, segmenter: Segmenter, limits: Limits, kept: int = 8) -> None:
        self._segmenter = segmenter
        self._limits = limits
        self._kept = kept
        self._encoded: OrderedDict[str, tuple[Segmenter, tuple[int, int]]] = OrderedDict()  # the newest last
        self._lock = Lock()

    def answer(self, data: bytes, texts: Sequence[str]) -> dict[str, Any]:
        """What a request is answered with, as plain data for JSON.

        Args:
            data: a picture's file.
            texts: the sentences.

        Returns:
            `width` and `height` in pixels, an EXIF orientation applied; `known`: whether the picture was encoded
            already; `segmentations`: see `entry`.

        Raises:
            DataError: for what is no picture or no sentence, or too much of it.
        """
        check_sentences(texts, self._limits)
        key = hashlib.sha256(data).hexdigest()
        with self._lock:
            known = key in self._encoded
            if not known:
                picture = read_picture(data, self._limits.pixels)
                # Segmenters of one model, each with a picture of its own.
                self._encoded[key] = copy.copy(self._segmenter).set_image(picture), picture.size
            self._encoded.move_to_end(key)
            while len(self._encoded) > self._kept:
                self._encoded.popitem(last=False)
            segmenter, (width, height) = self._encoded[key]
            step = max(1, _AT_ONCE // (width * height))
            parts = [list(texts[start : start + step]) for start in range(0, len(texts), step)]
            entries = [entry(drawn) for part in parts for drawn in segmenter.segment_many(part)]
        return {"width": width, "height": height, "known": known, "segmentations": entries}


def read_picture(data: bytes, pixels: int) -> Image.Image:
    """A picture as RGB, upright as browsers show it.

    Raises:
        DataError: if it is none, of a format that browsers do not show, or of more than so many pixels.
    """
    if not data:
        raise DataError("the picture is empty: send the bytes of its file")
    try:
        with opened(Path("the upload"), data) as image:
            _check_picture(image, pixels)
            return upright(image).convert("RGB")
    except DataError as error:
        if error.kind != "corrupt-image":
            raise
        # What PIL says of it names objects of this program.
        raise DataError(f"the upload is not an image that can be read: send one of {_NAMED}") from error


def _check_picture(image: Image.Image, pixels: int) -> None:
    """Raise DataError for what its header says, before the picture is decoded."""
    if image.format not in _FORMATS:
        raise DataError(f"the picture is a {image.format} file: send one of {_NAMED}")
    if image.width * image.height > pixels:
        raise DataError(
            f"the picture has {image.width} x {image.height} pixels, at most {pixels / 1e6:g} million are read: send a "
            "smaller one"
        )
    if image.mode.startswith(("I", "F")):  # PIL alone would clip it to white
        raise DataError(f"the picture has more than 8 bits a channel (mode {image.mode}): send one of 8 bits")


def entry(drawn: Segmentation) -> dict[str, Any]:
    """One answer as plain data for JSON.

    Returns:
        `text`; `score`: 0..1; `area` in pixels; `box`: COCO `[x, y, width, height]` or None; `rle`: COCO run lengths;
        `mask_png`: base64 of a 1-bit PNG of the picture's size, white where the mask is.
    """
    file = io.BytesIO()
    Image.fromarray(drawn.mask).save(file, "PNG")
    return {
        "text": drawn.text,
        "score": float(drawn.score),
        "area": int(drawn.mask.sum()),
        "box": mask_to_box(drawn.mask),
        "rle": mask_to_rle(drawn.mask),
        "mask_png": base64.b64encode(file.getvalue()).decode("ascii"),
    }
