"""COCO instance JSON: a sample is a picture and a category present in it, its mask all instances of that category."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from lisa_core.data.base import Example, Reason, Sample
from lisa_core.data.coco_file import CocoFile
from lisa_core.data.files import Pictures, begins_with, first_existing, short, split_names, usual_first
from lisa_core.data.reader import Reader
from lisa_core.errors import DataError

ROBOFLOW = "_annotations.coco.json"


class CocoReader(Reader):
    """Pictures with categories from one COCO JSON; subclasses say where files are and what a category is called."""

    def read(self) -> None:
        """A sample for each picture and category, in the file's order of pictures and that of the categories' names."""
        path = self.annotation_file()
        self._file = file = CocoFile.read(path)
        self._targets: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
        pictures = Pictures(self.root, self.picture_folders(path))
        for annotation in file.annotations.values():
            with self.tolerated(path):
                file.image_of(annotation)
        for image_id, entry in file.images.items():
            if image_id not in file.by_image:
                continue
            with self.tolerated(path):
                file.check_image(image_id)
                picture = pictures.find(entry.get("file_name"), path, f"image {image_id}")
                for name, annotations in self._by_category(file.by_image[image_id]):
                    self._add(picture, entry, name, annotations)
        self.doubts = []
        for key in sorted(file.repeated_annotations, key=str):  # nothing is asked for by their ids here
            try:
                file.check_annotation(key)
            except DataError as error:
                self.doubts.append((path, Reason.of(error)))
        file.release()

    def painted(self, index: int, image: Image.Image) -> Example:
        """See `Reader`."""
        sample, (entry, annotations) = self.samples[index], self._targets[index]
        mask, each = self._file.paint_apart(annotations, image, entry)
        objects = [one for one, annotation in zip(each, annotations) if not annotation.get("iscrowd")]
        return Example(sample, image, mask, instances=objects)

    def annotation_file(self) -> Path:
        """The JSON of the split; raises `DataError` when there is none."""
        raise NotImplementedError

    def picture_folders(self, path: Path) -> Iterable[Path]:
        """Where pictures may be, most usual place first."""
        raise NotImplementedError

    def texts(self, category: str) -> list[str]:
        """What a category is called, the usual name first."""
        return [category.replace("_", " ")]

    def _by_category(self, annotations: list[dict[str, Any]]) -> list[tuple[str, list[dict[str, Any]]]]:
        """A picture's annotations by category; categories that are there as a crowd only are nothing to ask for."""
        groups: dict[str, list[dict[str, Any]]] = {}
        for annotation in annotations:
            with self.tolerated(self._file.path):
                if not annotation.get("segmentation"):
                    raise DataError(
                        f"{self._file.path}: annotation {short(annotation.get('id'))} has no segmentation (a box is no "
                        "outline): remove it, or use --on-error skip."
                    )
                groups.setdefault(self._file.category_of(annotation), []).append(annotation)
        return sorted(
            (name, group) for name, group in groups.items() if not all(entry.get("iscrowd") for entry in group)
        )

    def _add(self, picture: Path, entry: dict[str, Any], category: str, annotations: list[dict[str, Any]]) -> None:
        texts = self.texts(category)
        name = Path(entry["file_name"].replace("\\", "/")).with_suffix("").as_posix()
        for number, text in enumerate(texts if self.phrasings == "all" else texts[:1]):
            sample_id = f"{name}#{category}" + (f"#{number}" if number else "")
            self.samples.append(Sample(sample_id, picture, self._file.path, text, is_sentence=False, source=self.name))
            self._targets.append((entry, annotations))


class Coco(CocoReader):
    """COCO's own layout, that of exports (SPLIT/_annotations.coco.json), or SPLIT.json beside the pictures."""

    name = "coco"
    layout: ClassVar[str] = "annotations/instances_SPLIT2017.json, SPLIT/_annotations.coco.json or SPLIT.json"

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether there is an instances file, an exported one, or a COCO JSON named like a split."""
        if any(root.glob("annotations/instances_*.json")) or any(root.glob(f"*/{ROBOFLOW}")):
            return True
        named = [root / f"{name}.json" for split in ("train", "val", "test") for name in split_names(split)]
        return any(begins_with(path, "{") for path in named) and not (root / "VOCdevkit").exists()

    @classmethod
    def splits(cls, root: Path) -> list[str]:
        """What the files are called, without a year where there is one of them only."""
        stems = [path.stem.removeprefix("instances_") for path in root.glob("annotations/instances_*.json")]
        bare = [re.sub(r"20\d\d$", "", stem) for stem in stems]
        names = [name if bare.count(name) == 1 else stem for stem, name in zip(stems, bare)]
        names += [path.parent.name for path in root.glob(f"*/{ROBOFLOW}")]
        usual = [split for split in ("train", "val", "test") for name in split_names(split) if name in names]
        usual += [s for s in ("train", "val", "test") if any((root / f"{n}.json").is_file() for n in split_names(s))]
        own = [name for name in names if not any(name in split_names(split) for split in usual)]
        return usual_first([*usual, *own]) or super().splits(root)

    def annotation_file(self) -> Path:
        """The JSON of the split."""
        for name in split_names(self.split):
            folder = self.root / "annotations"
            own = [folder / f"instances_{name}.json", folder / f"{name}.json", self.root / f"instances_{name}.json"]
            path = first_existing([*own, self.root / f"{name}.json", self.root / name / ROBOFLOW])
            if path is not None:
                return path
            years = sorted(folder.glob(f"instances_{name}20[0-9][0-9].json"))
            if len(years) > 1:
                raise DataError(
                    f"{folder} has {' and '.join(path.name for path in years)} for the split '{self.split}': keep one."
                )
            if years:
                return years[0]
        raise self.no_split()

    def picture_folders(self, path: Path) -> Iterable[Path]:
        """The folder named like the split in the JSON's name, and the usual ones."""
        name = path.stem.removeprefix("instances_")
        if path.name == ROBOFLOW:
            yield path.parent
        for split in (name, re.sub(r"20\d\d$", "", name), *split_names(self.split)):
            yield from (self.root / split, self.root / "images" / split)
        yield from (self.root / "images", self.root)
