"""What the writers of formats share: pictures copied once, masks as outlines, a count of what could not be kept."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
from abc import ABC, abstractmethod
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from PIL import Image

from lisa_core.conversion.targets import Target
from lisa_core.data.files import IMAGE_SUFFIXES
from lisa_core.data.polygons import mask_to_polygons
from lisa_core.outputs import mask_to_rle

Masks = Literal["rle", "polygons", "png"]
"""How outlines are written: COCO's run lengths, polygons along the pixels' edges, or pictures."""

NO_TARGET = "samples without a target are left out"
IGNORED = "samples lose their pixels that are not counted: these are background now"
ANSWERS = "answers in words are left out"
PHRASINGS = "further phrasings are left out"
APART = "further phrasings are targets of their own now"
SENTENCES = "full sentences count as phrases now, or phrases as sentences"
BLANKS = "texts have blanks where they had an underscore"
MERGED = "samples are one with another of the same picture and text"
RESERVED = "samples are left out, as their text means something else there"


class Writer(ABC):
    """Writes a dataset of one format into an empty folder: `add` for each target, then `close`."""

    forms: ClassVar[tuple[Masks, ...]]
    """The forms of masks the format can hold, the usual one first."""

    def __init__(self, folder: Path, masks: Masks) -> None:
        self.folder = folder
        self.masks = masks
        self.lost: Counter[str] = Counter()
        """What the format cannot hold, and how often that was."""
        self.pictures: dict[tuple[str, Path], str] = {}
        self._contents: dict[tuple[str, bytes], str] = {}
        self._taken: dict[str, set[str]] = {}

    @abstractmethod
    def add(self, split: str, target: Target) -> None:
        """Write a target."""

    @abstractmethod
    def close(self) -> None:
        """Write what waits for the last target."""

    def name(self, folder: str, wanted: str) -> str:
        """A file name that nothing in a folder has yet, not even with letters of another size."""
        taken = self._taken.setdefault(folder, set())
        path = Path("_" + wanted if wanted.startswith(".") else wanted)
        name, number = path.name, 2
        while name.lower() in taken:
            name, number = f"{path.stem}_{number}{path.suffix}", number + 1
        taken.add(name.lower())
        return name

    def id(self, split: str, wanted: str) -> str:
        """A target's id that no other one of the split has."""
        taken = self._taken.setdefault(f"ids of {split}", set())
        name, number = wanted, 2
        while name in taken:
            name, number = f"{wanted}_{number}", number + 1
        taken.add(name)
        return name

    def keeps(self, target: Target) -> bool:
        """Whether the picture's file is copied as it is."""
        path = target.first.image_path
        return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()

    def picture_name(self, target: Target) -> str:
        """The name that the picture's file will have, unless another has it already."""
        path = target.first.image_path
        return path.stem + (path.suffix if self.keeps(target) else ".png")

    def picture(self, target: Target, folder: str) -> str:
        """The picture's file name in a folder of the dataset; it is copied there when it first comes.

        Files of equal bytes are one picture: ReasonSeg stores it again for each of its targets.
        """
        path = target.first.image_path
        key = folder, path
        if key not in self.pictures:
            digest = hashlib.blake2b(path.read_bytes() if self.keeps(target) else target.image.tobytes()).digest()
            content = folder, digest + repr(target.image.size).encode()
            if content not in self._contents:
                self._contents[content] = self.name(folder, self.picture_name(target))
                self.save_picture(target, self.folder / folder / self._contents[content])
            self.pictures[key] = self._contents[content]
        return self.pictures[key]

    def save_picture(self, target: Target, path: Path) -> None:
        """The stored file as it is; what is no file of its own, or no JPEG or PNG, as a PNG of the same pixels."""
        path.parent.mkdir(parents=True, exist_ok=True)
        if self.keeps(target):
            shutil.copyfile(target.first.image_path, path)
        else:
            target.image.save(path, "PNG", exif=b"")

    def segmentation(self, mask: np.ndarray) -> Any:
        """COCO's form of a bool [H,W] mask; an empty one has no polygons, so it is run lengths."""
        if self.masks == "polygons" and mask.any():
            return [[float(value) for point in polygon for value in point] for polygon in mask_to_polygons(mask)]
        return mask_to_rle(mask)


def png(mask: np.ndarray) -> bytes:
    """A bool [H,W] mask as the file of a grey PNG, 0 and 255."""
    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(buffer, "PNG")
    return buffer.getvalue()


def png_text(mask: np.ndarray) -> str:
    """The same as base64 text."""
    return base64.b64encode(png(mask)).decode("ascii")


def write_json(path: Path, content: Any) -> None:
    """UTF-8; what a file name holds besides text is escaped, as JSON may."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(json_text(content).encode("utf-8", errors="backslashreplace") + b"\n")


def json_text(content: Any) -> str:
    """One line of JSON."""
    return json.dumps(content, ensure_ascii=False, allow_nan=False)
