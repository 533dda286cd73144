"""labelme: X.json beside X.jpg; a sample is a picture and a label in it, its mask all shapes of that label."""

from __future__ import annotations

import base64
import binascii
import math
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from lisa_core.data.base import Example, Sample
from lisa_core.data.files import (
    held_out,
    inner_path,
    is_number,
    is_question,
    parse_points,
    parse_sentence,
    read_json,
    short,
    split_names,
    usual_first,
)
from lisa_core.data.layout import first_pair, is_labelme
from lisa_core.data.picture_file import load_image, opened, turn_of
from lisa_core.data.polygons import paint_polygon
from lisa_core.data.reader import Reader
from lisa_core.errors import DataError
from lisa_core.types import IGNORE

_BACKGROUND = "_background_"
_CIRCLE_CORNERS = 72


class Labelme(Reader):
    """`SPLIT/X.json`, or all in one folder: then a tenth of the pictures is `val` and the rest `train`.

    Polygons, rectangles (oriented ones too), circles and masks are read. Shapes labelled `ignore` or `__ignore__` are
    not counted where no other shape is, `_background_` paints nothing.
    """

    name = "labelme"
    layout: ClassVar[str] = "SPLIT/X.json with `imagePath` and `shapes`, as labelme writes it"

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether the first file of the folder, or of a folder in it, is labelme's."""
        for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")):
            first = first_pair(folder) or min(folder.glob("[!.]*.json"), default=None)
            if first is not None and first.stat().st_size < 1 << 24 and is_labelme(first):
                return True
        return False

    @classmethod
    def splits(cls, root: Path) -> list[str]:
        """The folders with files, or train and val."""
        names = [path.name for path in root.iterdir() if path.is_dir() and path.name[0] != "."]
        return usual_first(name for name in names if _annotations(root / name)) or ["train", "val"]

    def read(self) -> None:
        """Samples in the order of file names and, in a file, of labels."""
        self._shapes: list[list[dict[str, Any]]] = []
        self._sizes: list[tuple[Any, Any]] = []  # of the picture as it was labelled; None where a file does not say
        for path in self._files():
            with self.tolerated(path):
                self._add(path)

    def picture(self, index: int) -> Image.Image:
        """The file beside the annotation, or the picture stored in it."""
        sample = self.samples[index]
        if sample.image_path != sample.annotation_path:
            image = load_image(sample.image_path)
            _check_upright(image, self._sizes[index], sample.image_path)
            return image
        data = _bytes(read_json(sample.annotation_path).get("imageData"), f"{sample.annotation_path}: `imageData`")
        with opened(sample.annotation_path, data) as image:
            return image.convert("RGB")

    def painted(self, index: int, image: Image.Image) -> Example:
        """See `Reader`."""
        sample = self.samples[index]
        said = self._sizes[index]
        if all(is_number(value) for value in said) and said != image.size:
            raise DataError(
                f"{sample.annotation_path}: it was labelled on a picture of {said[0]} x {said[1]}, "
                f"{sample.image_path.name} has {image.width} x {image.height}: put back the picture that was labelled.",
                "mask-size",
            )
        mask = np.zeros((image.height, image.width), dtype=np.uint8)
        for shape in self._shapes[index]:  # those that are ignored come first
            inside = _paint(shape, image.height, image.width, str(sample.annotation_path))
            mask[inside] = IGNORE if _is_ignored(shape) else 1
        return Example(sample, image, mask)

    def _files(self) -> list[Path]:
        """The split's annotations."""
        for name in split_names(self.split):
            if (self.root / name).is_dir():
                return _annotations(self.root / name)
        files = _annotations(self.root)
        if not files or self.split not in ("train", "val"):
            raise self.no_split()
        val = held_out([path.name for path in files])
        return [path for path in files if (path.name in val) == (self.split == "val")]

    def _add(self, path: Path) -> None:
        """The samples of one file."""
        content = read_json(path)
        shapes = content.get("shapes") if isinstance(content, dict) else None
        if not isinstance(shapes, list):
            raise DataError(f"{path} has no list `shapes`: it is no file of labelme.")
        for number, shape in enumerate(shapes):
            _check(shape, number, path)
        picture = self._picture(content, path)
        ignored = [shape for shape in shapes if _is_ignored(shape)]
        labels: dict[str, list[dict[str, Any]]] = {}
        for shape in shapes:
            if not _is_ignored(shape) and shape["label"].strip() != _BACKGROUND:
                labels.setdefault(shape["label"].strip(), []).append(shape)
        name = path.relative_to(self.root).with_suffix("").as_posix()
        for label, members in sorted(labels.items()):
            text = label.replace("_", " ")
            sample_id = f"{name}#{label}"
            self.samples.append(Sample(sample_id, picture, path, text, is_question(text), source=self.name))
            self._shapes.append(ignored + members)
            self._sizes.append((content.get("imageWidth"), content.get("imageHeight")))

    def _picture(self, content: dict[str, Any], path: Path) -> Path:
        """The picture's file, or the annotation itself when the picture is stored in it."""
        said = content.get("imagePath")
        if isinstance(said, str) and "\0" not in said:
            # labelme writes the path it was opened by, often with a folder of the machine it ran on
            base = said.replace("\\", "/").rpartition("/")[2]
            if base and (path.parent / base).is_file():
                return path.parent / base
        if content.get("imageData"):
            return path
        below = path.parent.relative_to(self.root).as_posix()
        inner = inner_path(f"{below}/{said}" if isinstance(said, str) else said, path, "`imagePath`", self.root)
        if not (self.root / inner).is_file():
            message = f"{path}: `imagePath` names {said!r}, which is not there: put the picture beside the file."
            raise DataError(message, "missing-file")
        return self.root / inner


def _annotations(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".json" and path.name[0] != ".")


def _is_ignored(shape: dict[str, Any]) -> bool:
    return shape["label"].strip().strip("_").lower() == "ignore"


def _check_upright(image: Image.Image, said: tuple[Any, Any], path: Path) -> None:
    """Raise `DataError` for a picture that labelme showed, and measured, otherwise than its pixels are stored.

    Another program may have measured the stored pixels: after a quarter turn the two sides tell.
    """
    turn = turn_of(image)
    is_as_stored = turn >= 5 and image.width != image.height and said == image.size
    if turn and not is_as_stored:
        raise DataError(
            f"{path} is stored turned (EXIF orientation {turn}), and labelme measures it upright: turn its pixels, "
            "for example by `mogrify -auto-orient`.",
            "mask-size",
        )


def _check(shape: Any, number: int, path: Path) -> None:
    """Raise `DataError` for a shape that cannot be painted."""
    if not isinstance(shape, dict):
        raise DataError(f"{path}: shape {number} must be an object with `label` and `points`, not {short(shape)}.")
    parse_sentence(shape.get("label"), path, f"the label of shape {number}")
    kind, points = shape.get("shape_type") or "polygon", shape.get("points")
    counts = {"polygon": 3, "oriented_rectangle": 4, "rectangle": 2, "circle": 2, "mask": 2}
    if kind not in counts:
        raise DataError(f"{path}: shape {number} is a {short(kind)}, which has no area: draw a polygon, or remove it.")
    least = counts[kind]
    if not isinstance(points, list) or len(points) < least or (kind != "polygon" and len(points) != least):
        message = f"{path}: shape {number} is a {kind}, which needs {least} points, not {short(points)}."
        raise DataError(message, "polygon")
    parse_points(points, f"{path}: shape {number}")


def _paint(shape: dict[str, Any], height: int, width: int, where: str) -> np.ndarray:
    """Bool [H,W] mask of one shape."""
    points = np.asarray(shape["points"], dtype=np.float64)
    kind = shape.get("shape_type") or "polygon"
    if kind == "rectangle":
        (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    elif kind == "circle":
        radius = math.dist(*points)
        angles = np.linspace(0, 2 * np.pi, _CIRCLE_CORNERS, endpoint=False)
        points = points[0] + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    elif kind == "mask":
        return _paste(shape, points, height, width, where)
    return paint_polygon(points, height, width)


def _paste(shape: dict[str, Any], points: np.ndarray, height: int, width: int, where: str) -> np.ndarray:
    """Bool [H,W] with a shape's own small mask at its upper left point."""
    with opened(Path(where), _bytes(shape.get("mask"), f"{where}: the mask of a shape")) as image:
        small = np.asarray(image.convert("L")) != 0
    x, y = (round(value) for value in points.min(axis=0).tolist())
    if x < 0 or y < 0 or y + small.shape[0] > height or x + small.shape[1] > width:
        message = f"{where}: a mask of {small.shape[1]} x {small.shape[0]} at ({x}, {y}) leaves the picture."
        raise DataError(message, "mask-size")
    mask = np.zeros((height, width), dtype=bool)
    mask[y : y + small.shape[0], x : x + small.shape[1]] = small
    return mask


def _bytes(text: Any, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise DataError(f"{what} is not base64 text ({error}): save the file again.") from error
