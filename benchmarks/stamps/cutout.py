"""A cut-out as it is pasted: scaled, mirrored, tilted, its edge blended, its light changed a little."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from material import read_picture
from PIL import Image, ImageFilter

LARGEST_ENLARGEMENT = 1.5
"""Small sources blur when they are enlarged more."""

_TRANSLUCENT = 0.85  # mean alpha below which blending the edge would thin out the object itself


@dataclass(frozen=True)
class Look:
    """How one cut-out is pasted."""

    scale: float
    """Factor on the source's width and height, at most `LARGEST_ENLARGEMENT`."""
    mirrored: bool = False
    """Left and right swapped."""
    angle: float = 0.0
    """Tilt in degrees, counter-clockwise."""
    feather: float = 0.0
    """Standard deviation in pixels of the blend at the edge; 0 keeps the source's edge."""
    gain: float = 1.0
    """Factor on the brightness."""
    contrast: float = 1.0
    """Factor on the distance from the mean brightness."""
    saturation: float = 1.0
    """Factor on the distance from grey."""


@lru_cache(maxsize=400)
def read_cutout(path: Path) -> Image.Image:
    """The RGBA picture, cropped to what shows (alpha above 2%); raises `DataError` if it cannot be read."""
    rgba = read_picture(path, "RGBA")
    box = rgba.getchannel("A").point(lambda value: 255 if value > 5 else 0).getbbox()
    return rgba.crop(box)


def render(cutout: Image.Image, look: Look) -> tuple[np.ndarray, np.ndarray]:
    """Colour float32 [h,w,3] in 0..255 and alpha float32 [h,w] in 0..1, cropped to what shows."""
    if look.scale > LARGEST_ENLARGEMENT + 1e-9:
        raise ValueError(f"a scale of {look.scale:.2f} blurs: {LARGEST_ENLARGEMENT} at most")
    image = cutout.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if look.mirrored else cutout
    size = (max(1, round(image.width * look.scale)), max(1, round(image.height * look.scale)))
    image = image.resize(size, Image.Resampling.LANCZOS)  # PIL weighs colours with alpha, so no fringe appears
    if look.angle:
        image = image.rotate(look.angle, Image.Resampling.BICUBIC, expand=True)
    pixels = np.asarray(image, dtype=np.float32)
    alpha = _feathered(pixels[:, :, 3], look.feather) if look.feather else pixels[:, :, 3] / 255
    rows, columns = np.flatnonzero((alpha > 0.02).any(axis=1)), np.flatnonzero((alpha > 0.02).any(axis=0))
    if not len(rows):
        return np.zeros((1, 1, 3), np.float32), np.zeros((1, 1), np.float32)
    window = slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
    return _relit(pixels[window][:, :, :3], alpha[window], look), np.ascontiguousarray(alpha[window])


def _feathered(alpha: np.ndarray, sigma: float) -> np.ndarray:
    """Alpha 0..255 [h,w] with its edge blended inwards, 0..1: a halo of the source's own background goes with it."""
    inside = alpha[alpha > 12]
    if not len(inside) or inside.mean() < 255 * _TRANSLUCENT:
        return alpha / 255
    # A border of nothing, so that an object that fills its picture is blended there too.
    padded = Image.fromarray(np.pad(np.rint(alpha).astype(np.uint8), 4)).filter(ImageFilter.GaussianBlur(sigma))
    blurred = np.asarray(padded, dtype=np.float32)[4:-4, 4:-4] / 255
    return np.minimum(alpha / 255, np.clip((blurred - 0.2) / 0.6, 0, 1))


def _relit(colour: np.ndarray, alpha: np.ndarray, look: Look) -> np.ndarray:
    """The colours with brightness, contrast and saturation changed; the hue stays, colour words with it."""
    grey = colour @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    mean = float((grey * alpha).sum() / max(float(alpha.sum()), 1e-6))
    colour = grey[:, :, None] + look.saturation * (colour - grey[:, :, None])
    colour = (mean + look.contrast * (colour - mean)) * look.gain
    return np.clip(colour, 0, 255).astype(np.float32)
