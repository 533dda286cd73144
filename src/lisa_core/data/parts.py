"""Sets of objects and their parts in COCO JSON, `bicycle:wheel`: PACO-LVIS and PASCAL-Part."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from lisa_core.data.coco import CocoReader
from lisa_core.data.files import first_existing, split_names


class PartReader(CocoReader):
    """Categories are objects, or an object and its part."""

    def texts(self, category: str) -> list[str]:
        """`bicycle:wheel` is a bicycle wheel and the wheel of the bicycle; `trash_can_(bin)` is a trash can."""
        words = [word.partition("_(")[0].replace("_", " ").strip() for word in category.split(":")]
        if len(words) != 2 or not all(words):
            return [" ".join(words).strip()]
        thing, part = words
        return [f"{thing} {part}", f"the {part} of the {thing}"]


class Paco(PartReader):
    """PACO-LVIS: annotations/paco_lvis_v1_SPLIT.json, pictures of COCO 2017 by their path in it."""

    name = "paco"
    layout: ClassVar[str] = "annotations/paco_lvis_v1_SPLIT.json"

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether there is a PACO file."""
        return any(root.glob("annotations/paco_lvis_v1_*.json"))

    def annotation_file(self) -> Path:
        """The JSON of the split."""
        names = [f"paco_lvis_v1_{name}.json" for name in split_names(self.split)]
        path = first_existing(folder / name for name in names for folder in (self.root / "annotations", self.root))
        if path is None:
            raise self.no_split()
        return path

    def picture_folders(self, path: Path) -> Iterable[Path]:
        """COCO's folder here, or beside this one as LISA lays it out: `file_name` is `train2017/X.jpg`."""
        yield from (self.root, self.root / "images", self.root / "coco")
        yield from (self.root.absolute().parent / "coco", self.root.absolute().parent.parent / "coco")


class PascalPart(PartReader):
    """PASCAL-Part: train.json and val.json beside VOCdevkit."""

    name = "pascal-part"
    layout: ClassVar[str] = "SPLIT.json and VOCdevkit/VOC2010/JPEGImages"

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether VOCdevkit lies beside a JSON."""
        return (root / "VOCdevkit").is_dir() and any(root.glob("*.json"))

    def annotation_file(self) -> Path:
        """The JSON of the split."""
        path = first_existing(self.root / f"{name}.json" for name in split_names(self.split))
        if path is None:
            raise self.no_split()
        return path

    def picture_folders(self, path: Path) -> Iterable[Path]:
        """VOC's folder of pictures."""
        yield from (self.root / "VOCdevkit" / "VOC2010" / "JPEGImages", self.root / "JPEGImages", self.root / "images")
