"""One COCO JSON: its pictures, categories and annotations, and the masks the annotations paint."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lisa_core.data.files import read_json, short
from lisa_core.data.masks import paint_segmentation
from lisa_core.errors import DataError
from lisa_core.types import IGNORE

Key = int | str
"""What COCO's ids may be."""


@dataclass
class CocoFile:
    """The content of one COCO JSON, by id."""

    path: Path
    """The file."""
    images: dict[Key, dict[str, Any]] = field(default_factory=dict)
    """Pictures: `file_name`, and mostly `width` and `height`."""
    categories: dict[Key, str] = field(default_factory=dict)
    """Names."""
    annotations: dict[Key, dict[str, Any]] = field(default_factory=dict)
    """Outlines; those without an id of their own go by their number in the file."""
    by_image: dict[Key, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """The annotations of each picture."""
    repeated_images: set[Key] = field(default_factory=set)
    """Ids that several pictures have: whose annotations are theirs cannot be told."""
    repeated_annotations: set[Key] = field(default_factory=set)
    """Ids that several annotations have."""

    @classmethod
    def read(cls, path: Path) -> CocoFile:
        """Read a file and check what ties its parts together; raises `DataError` that names it.

        Outlines are checked when they are painted: a file may hold a million of them.
        """
        content = read_json(path)
        if not isinstance(content, dict):
            raise DataError(f"{path} must be an object with images, annotations and categories: it is no COCO JSON.")
        result = cls(path)
        for number, entry in enumerate(result._entries(content, "images")):
            key = result._key(entry, "id", f"image {number}")
            if key in result.images and result.images[key] != entry:
                result.repeated_images.add(key)
            result.images[key] = entry
        for number, entry in enumerate(result._entries(content, "categories")):
            name = entry.get("name")
            if not isinstance(name, str) or not name.strip():
                raise DataError(f"{path}: category {number} has no name ({short(entry)}): add it.")
            result.categories[result._key(entry, "id", f"category {number}")] = name.strip()
        for number, entry in enumerate(result._entries(content, "annotations")):
            given = entry.get("id", number)
            key = given if isinstance(given, (int, str)) else number
            image = result._key(entry, "image_id", f"annotation {number}")
            if key in result.annotations:
                result.repeated_annotations.add(key)
            result.annotations[key] = entry
            result.by_image[image].append(entry)
        return result

    def check_image(self, key: Key) -> None:
        """Raise `DataError` for an id that several pictures have."""
        if key in self.repeated_images:
            message = f"{self.path}: several pictures have the id {key!r}: give each its own, and its annotations too."
            raise DataError(message, "duplicate-id")

    def check_annotation(self, key: Key) -> None:
        """Raise `DataError` for an id that several annotations have."""
        if key in self.repeated_annotations:
            message = f"{self.path}: several annotations have the id {key!r}: give each its own."
            raise DataError(message, "duplicate-id")

    def image_of(self, annotation: dict[str, Any]) -> dict[str, Any]:
        """The picture of an annotation; raises `DataError` when the file does not list it."""
        image = self.images.get(annotation["image_id"])
        if image is None:
            raise DataError(
                f"{self.path}: {name_of(annotation)} is of image {annotation['image_id']!r}, which is not in `images`: "
                "add or remove it."
            )
        return image

    def category_of(self, annotation: dict[str, Any]) -> str:
        """The name of an annotation's category; raises `DataError` when the file does not list it."""
        key = annotation.get("category_id")
        if not isinstance(key, (int, str)) or key not in self.categories:
            raise DataError(
                f"{self.path}: {name_of(annotation)} has the category {short(key)}, not in `categories`: add it."
            )
        return self.categories[key]

    def paint(self, annotations: Iterable[dict[str, Any]], image: Image.Image, entry: dict[str, Any]) -> np.ndarray:
        """uint8 [H,W]: 1 where any of the annotations is, 255 where only a crowd (`iscrowd`) is.

        Raises `DataError` when the picture has another size than the file says, or an outline cannot be painted.
        """
        mask = np.zeros((image.height, image.width), dtype=np.uint8)
        for _, inside, value in self._outlined(list(annotations), image, entry):
            mask[inside] = value
        return mask

    def paint_apart(
        self, annotations: Sequence[dict[str, Any]], image: Image.Image, entry: dict[str, Any]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """What `paint` gives of all annotations together, and of each by itself in their order."""
        mask = np.zeros((image.height, image.width), dtype=np.uint8)
        each = [np.zeros_like(mask) for _ in annotations]
        for place, inside, value in self._outlined(annotations, image, entry):
            mask[inside] = each[place][inside] = value
        return mask, each

    def _outlined(
        self, annotations: Sequence[dict[str, Any]], image: Image.Image, entry: dict[str, Any]
    ) -> Iterator[tuple[int, np.ndarray, int]]:
        """Place, pixels (bool [H,W]) and value of each annotation, in the order in which they cover one another."""
        self.check_size(image, entry)
        # crowds first: what is outlined one by one lies on top of them
        for place in sorted(range(len(annotations)), key=lambda place: not annotations[place].get("iscrowd")):
            annotation = annotations[place]
            where = f"{self.path}: {name_of(annotation)}"
            inside = paint_segmentation(annotation.get("segmentation"), image.height, image.width, where)
            yield place, inside, IGNORE if annotation.get("iscrowd") else 1

    def check_size(self, image: Image.Image, entry: dict[str, Any]) -> None:
        """Raise `DataError` when a picture is not of the size its outlines were drawn for."""
        said = entry.get("width", image.width), entry.get("height", image.height)
        if said != image.size:
            raise DataError(
                f"{self.path}: {entry.get('file_name')} is {image.width} x {image.height} pixels, the file says "
                f"{said[0]} x {said[1]}: restore the picture its outlines were drawn for.",
                "mask-size",
            )

    def release(self) -> None:
        """Forget the tables: what the samples hold of them stays, the rest of a large file need not."""
        for entries in (self.images, self.annotations, self.by_image):
            entries.clear()

    def _entries(self, content: dict[str, Any], name: str) -> list[dict[str, Any]]:
        entries = content.get(name)
        if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
            raise DataError(f"{self.path}: `{name}` must be a list of objects: it is no COCO JSON.")
        return entries

    def _key(self, entry: dict[str, Any], name: str, what: str) -> Key:
        key = entry.get(name)
        if not isinstance(key, (int, str)):
            raise DataError(f"{self.path}: {what} has the `{name}` {short(key)}: give a number.")
        return key


def name_of(annotation: dict[str, Any]) -> str:
    """An annotation as messages name it."""
    return f"annotation {annotation.get('id', 'without an id')}"
