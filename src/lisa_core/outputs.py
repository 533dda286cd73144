"""Masks as files: COCO run lengths, boxes, PNGs, overlays and the JSON that ties them together."""

from __future__ import annotations

import json
import math
import os
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageFilter
from pycocotools import mask as coco_mask

from lisa_core.errors import ConfigError

Color = tuple[int, int, int]
"""Red, green and blue in 0..255."""

PALETTE: tuple[Color, ...] = (
    (255, 64, 64),
    (40, 150, 255),
    (255, 170, 0),
    (60, 200, 90),
    (190, 90, 255),
    (0, 200, 200),
)
"""Tints of the sentences of one image, in turn."""


class SegmentationLike(Protocol):
    """What is written for one sentence."""

    @property
    def text(self) -> str:
        """The sentence."""

    @property
    def mask(self) -> np.ndarray:
        """Bool [H,W] at the image's size."""

    @property
    def score(self) -> float:
        """The model's own estimate of the mask's IoU."""


def mask_to_rle(mask: np.ndarray) -> dict[str, Any]:
    """COCO run lengths of a mask, ready for JSON.

    Args:
        mask: bool [H,W], at least one pixel.

    Returns:
        `{"size": [H, W], "counts": compressed run lengths as text}`.

    Raises:
        ValueError: the mask is not bool [H,W].
    """
    rle = coco_mask.encode(np.asfortranarray(_checked(mask), dtype=np.uint8))
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def mask_to_box(mask: np.ndarray) -> list[int] | None:
    """COCO box `[x, y, width, height]` in pixels around a bool [H,W] mask; None when the mask is empty.

    Raises:
        ValueError: the mask is not bool [H,W].
    """
    if not _checked(mask).any():
        return None
    return [int(value) for value in coco_mask.toBbox(mask_to_rle(mask))]


def overlay(image: Image.Image, mask: np.ndarray, color: Color = PALETTE[0], alpha: float = 0.45) -> Image.Image:
    """The image with the mask tinted and outlined, as a new RGB image of the same size.

    The outline is the colour itself inside the mask's edge and white outside it, so that it shows on any background,
    and around a mask of one pixel.

    Args:
        image: the picture the mask belongs to, any mode.
        mask: bool [H,W] of the image's size.
        color: the tint.
        alpha: weight of the tint in 0..1 inside the mask.

    Raises:
        ValueError: the mask is not bool, not of the image's size, or `alpha` is out of range.
    """
    if _checked(mask).shape != (image.height, image.width):
        raise ValueError(f"a mask of {mask.shape} (H, W) does not fit an image of {(image.height, image.width)}")
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be in 0..1, not {alpha}")
    pixels = np.asarray(image.convert("RGB")).copy()  # [H,W,3]
    tint = np.asarray(color, dtype=np.float64)
    pixels[mask] = np.rint((1 - alpha) * pixels[mask] + alpha * tint).astype(np.uint8)
    width = max(1, round(math.sqrt(min(mask.shape)) / 8))  # 2 pixels at 200, 4 at 1000: visible, never clumsy
    # Outside the picture counts as background, so that a mask that touches the border is outlined there too.
    padded = Image.fromarray(np.pad(mask, width).astype(np.uint8) * 255)
    inside = np.s_[width:-width, width:-width]
    eroded = np.asarray(padded.filter(ImageFilter.MinFilter(2 * width + 1)))[inside] > 0
    dilated = np.asarray(padded.filter(ImageFilter.MaxFilter(2 * width + 1)))[inside] > 0
    pixels[mask & ~eroded] = color
    pixels[dilated & ~mask] = 255
    return Image.fromarray(pixels)


def save_mask_png(mask: np.ndarray, path: Path) -> None:
    """Write a bool [H,W] mask as an 8-bit grey PNG (mode L): 255 where the mask is, 0 elsewhere.

    Raises:
        ValueError: the mask is not bool [H,W].
        OSError: the file cannot be written.
    """
    picture = Image.fromarray(_checked(mask).astype(np.uint8) * 255)
    _write(path, partial(picture.save, format="PNG"))


def write_outputs(
    directory: Path,
    stem: str,
    image: Image.Image,
    segmentations: Sequence[SegmentationLike],
    image_path: Path | None = None,
    alpha: float = 0.45,
) -> Path:
    """Write what a model drew in one image: PNGs for each sentence and one JSON that lists them.

    For sentence k (from 0): `<stem>_<k>_mask.png` and `<stem>_<k>_overlay.png`. The JSON, `<stem>.json`, is written
    last, so that the files it names exist: `{"image", "height", "width", "segmentations": [{"text", "score", "box"
    (COCO, pixels, null when empty), "area" (pixels), "rle" (COCO), "mask_file", "overlay_file"}]}`, with file names
    relative to the JSON. Files of an earlier run with the same names are replaced, each in one step.

    Args:
        directory: where to write; made when missing.
        stem: start of the file names, usually the image's stem.
        image: the picture, any mode.
        segmentations: one per sentence, masks bool [H,W] of the image's size.
        image_path: the file the image came from; recorded, and never overwritten.
        alpha: weight of the overlays' tint in 0..1.

    Returns:
        The path of the JSON.

    Raises:
        ConfigError: an output would replace the input image, or the directory cannot be written.
        ValueError: a mask does not fit the image, a score is not finite, or `stem` is not a bare file name.
    """
    if not stem or Path(stem).name != stem:
        raise ValueError(f"the stem must be a bare file name, not {stem!r}")
    entries = [_entry(segmentation, f"{stem}_{k}") for k, segmentation in enumerate(segmentations)]
    overlays = [overlay(image, s.mask, PALETTE[k % len(PALETTE)], alpha) for k, s in enumerate(segmentations)]
    source = None if image_path is None else str(image_path)
    record = {"image": source, "height": image.height, "width": image.width, "segmentations": entries}
    text = json.dumps(record, ensure_ascii=False, indent=2, allow_nan=False) + "\n"
    # A command line can hold bytes that are not text: their surrogates, backslashed, are JSON's own way to write them.
    encoded = text.encode("utf-8", errors="backslashreplace")
    json_path = directory / f"{stem}.json"
    names = [json_path.name, *(entry[key] for entry in entries for key in ("mask_file", "overlay_file"))]
    try:
        _refuse_to_replace(image_path, [directory / name for name in names])
        directory.mkdir(parents=True, exist_ok=True)
        for entry, segmentation, picture in zip(entries, segmentations, overlays):
            save_mask_png(segmentation.mask, directory / entry["mask_file"])
            _write(directory / entry["overlay_file"], partial(picture.save, format="PNG"))
        _write(json_path, lambda temporary: temporary.write_bytes(encoded))
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"cannot write to {directory}: {reason}; choose another output directory") from error
    return json_path


def _entry(segmentation: SegmentationLike, stem: str) -> dict[str, Any]:
    """What the JSON says about one sentence."""
    return {
        "text": segmentation.text,
        "score": float(segmentation.score),
        "box": mask_to_box(segmentation.mask),
        "area": int(np.count_nonzero(segmentation.mask)),
        "rle": mask_to_rle(segmentation.mask),
        "mask_file": f"{stem}_mask.png",
        "overlay_file": f"{stem}_overlay.png",
    }


def _refuse_to_replace(image_path: Path | None, outputs: Sequence[Path]) -> None:
    """Raise ConfigError if one of the outputs is the input image, by whatever name or link."""
    if image_path is None or not image_path.exists():
        return
    for path in outputs:
        if path.exists() and path.samefile(image_path):
            raise ConfigError(f"{path} is the input image and would be replaced; choose another output directory")


def _write(path: Path, save: Callable[[Path], object]) -> None:
    """Let `save` write a temporary neighbour of `path`, then put it in place in one step, or leave nothing behind."""
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        save(temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def _checked(mask: np.ndarray) -> np.ndarray:
    """The mask itself if it is bool [H,W] with at least one pixel; ValueError otherwise."""
    if mask.dtype != np.bool_ or mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"a mask must be bool [H,W], not {mask.dtype} {mask.shape}")
    return mask
