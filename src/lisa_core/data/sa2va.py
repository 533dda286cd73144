"""Sa2VA's fine-tuning layout: annotations.json, a list of pictures with masks and a text for each, and images/."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from lisa_core.data.base import Example, Sample
from lisa_core.data.files import (
    Pictures,
    begins_with,
    first_existing,
    held_out,
    is_question,
    parse_sentence,
    read_json,
    short,
    split_names,
    usual_first,
)
from lisa_core.data.masks import paint_segmentation
from lisa_core.data.reader import Reader
from lisa_core.errors import DataError

FILE = "annotations.json"


class Sa2VA(Reader):
    """`annotations.json` with `{"image", "mask": [[[x1, y1, ...], ...], ...], "text": [...]}`, pictures in images/.

    The layout knows no splits: `annotations_SPLIT.json` or `SPLIT/annotations.json` is read where there is one,
    otherwise a tenth of the pictures is `val` and the rest `train`.
    """

    name = "sa2va"
    layout: ClassVar[str] = "annotations.json, a list of image, mask and text, and images/"

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether there is a list called so."""
        return any(begins_with(path, "[") for path in (*root.glob("annotations*.json"), *root.glob(f"*/{FILE}")))

    @classmethod
    def splits(cls, root: Path) -> list[str]:
        """What the files are called, or train and val."""
        names = [path.stem.removeprefix("annotations_") for path in root.glob("annotations_*.json")]
        return usual_first([*names, *(path.parent.name for path in root.glob(f"*/{FILE}"))]) or ["train", "val"]

    def read(self) -> None:
        """A sample for each mask of each picture, in the file's order."""
        own = first_existing(
            path
            for name in split_names(self.split)
            for path in (self.root / f"annotations_{name}.json", self.root / name / FILE)
        )
        path = own or self.root / FILE
        if not path.is_file() or (own is None and self.split not in ("train", "val")):
            raise self.no_split()
        entries = read_json(path)
        if not isinstance(entries, list):
            raise DataError(f"{path} must be a list of {{image, mask, text}}, not {type(entries).__name__}.")
        base = path.parent
        pictures = Pictures(self.root, (base / "images", base, self.root / "images", self.root))
        names = [entry.get("image") if isinstance(entry, dict) else None for entry in entries]
        val = set() if own is not None else held_out([name for name in names if isinstance(name, str)])
        self._outlines: list[Any] = []
        for number, (entry, name) in enumerate(zip(entries, names)):
            if own is not None or (name in val) == (self.split == "val"):
                with self.tolerated(path):
                    self._add(entry, number, path, pictures)

    def painted(self, index: int, image: Image.Image) -> Example:
        """See `Reader`."""
        sample = self.samples[index]
        where = f"{sample.annotation_path}: mask {sample.id}"
        mask = paint_segmentation(self._outlines[index], image.height, image.width, where)
        return Example(sample, image, mask.astype("uint8"))

    def _add(self, entry: Any, number: int, path: Path, pictures: Pictures) -> None:
        if not isinstance(entry, dict):
            raise DataError(f"{path}: entry {number} must be an object with `image`, `mask` and `text`.")
        picture = pictures.find(entry.get("image"), path, f"`image` of entry {number}")
        masks, texts = entry.get("mask"), entry.get("text")
        if not isinstance(masks, list) or not isinstance(texts, list) or len(masks) != len(texts):
            raise DataError(f"{path}: entry {number} must have as many texts as masks, two lists: {short(texts)}.")
        for place, (outline, text) in enumerate(zip(masks, texts)):
            text = parse_sentence(text, path, f"text {place} of entry {number}")
            sample_id = f"{number}#{place}"
            self.samples.append(Sample(sample_id, picture, path, text, is_question(text), source=self.name))
            self._outlines.append(outline)
