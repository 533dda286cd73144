"""Picture files read as RGB: turned as the camera was held if asked, refused in one line if they cannot be read."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from lisa_core.errors import DataError


def load_image(path: Path, *, turned: bool = False) -> Image.Image:
    """Read an image as RGB; raises `DataError` that names the file for anything PIL cannot read.

    16-bit grey is scaled to 8 bits, PIL alone would clip it to white.

    Args:
        path: the file.
        turned: as its EXIF orientation says, as photographs are shown. Pictures of a dataset are not turned:
            annotations are in the coordinates of the stored pixels.
    """
    with opened(path) as file:
        image = upright(file) if turned else file
        if image.mode.startswith("I"):
            values = np.clip(np.asarray(image, dtype=np.int64), 0, 65535)
            depth_shift = 8 if image.mode.startswith("I;16") or values.max(initial=0) > 255 else 0
            return Image.fromarray((values >> depth_shift).astype(np.uint8)).convert("RGB")
        return image.convert("RGB")


_ORIENTATION = 0x0112  # of EXIF: how a camera was held
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def turn_of(image: Image.Image) -> int:
    """EXIF's orientation of a picture that is shown otherwise than it is stored: 2 to 8, from 5 on by a quarter turn.

    0 for any other picture.
    """
    try:
        orientation = image.getexif().get(_ORIENTATION)
    except Exception:  # whatever a parser meets in damaged EXIF, by which nobody turns a picture
        return 0
    return orientation if isinstance(orientation, int) and orientation in _TURNS else 0


def upright(image: Image.Image) -> Image.Image:
    """A picture turned as its EXIF orientation says; PIL's `exif_transpose` fails where another tag is damaged."""
    image.load()  # a TIFF is turned, and its orientation gone, once it is read
    turn = turn_of(image)
    return image.transpose(_TURNS[turn]) if turn else image


@contextlib.contextmanager
def opened(path: Path, data: bytes | None = None) -> Iterator[Image.Image]:
    """An image that is decoded inside the block; whatever goes wrong there becomes a `DataError` that names `path`.

    `data` holds the file's bytes where they are not the content of `path`. A picture that claims more pixels than PIL
    would decode without a warning is refused by its header, before anything of its size is allocated.
    """
    if data is None and not path.is_file():
        message = f"{path} does not exist or is not a file: restore the image or correct its path."
        raise DataError(message, "missing-file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # it is an error below
            found = Image.open(path if data is None else io.BytesIO(data))
        with found as image:
            if image.format == "EPS":  # to decode it, PIL has Ghostscript run it
                raise ValueError("it is a PostScript program")
            limit = Image.MAX_IMAGE_PIXELS
            if limit is not None and image.width * image.height > limit:
                raise ValueError(f"{image.width} x {image.height} pixels are more than the {limit} that are decoded")
            yield image
    except DataError:
        raise
    # PIL's decoders raise whatever their parsing meets (OSError, SyntaxError, ValueError, struct.error, zlib.error,
    # DecompressionBombError ...); for the user they all mean the same thing.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, UnidentifiedImageError):  # it names the file again, or where in memory its bytes are
            reason = "it has no format that PIL knows"
        message = f"{path} is not an image that can be read: {reason}; replace or remove it."
        raise DataError(message, "corrupt-image") from error
