"""Sets that label every pixel with a class (ADE20K, COCO-Stuff, Mapillary Vistas): a sample is one class of a picture.

Which classes a picture holds is known only when its label map is decoded, so it is `load` that draws one, by the
sample's number: up to `CLASSES_PER_PICTURE` samples a picture, each of another class as long as there are so many. The
draw depends on the picture's name alone, so it is the same in every run.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from lisa_core.data.base import Example, Sample
from lisa_core.data.files import first_existing, parse_sentence, read_json, read_text, split_names
from lisa_core.data.masks import read_index_map
from lisa_core.data.reader import Reader
from lisa_core.errors import DataError
from lisa_core.types import IGNORE

CLASSES_PER_PICTURE = 3
"""Samples a picture with `phrasings="all"`; with `"first"` it is one."""


class SemanticReader(Reader):
    """Pairs of a picture and a label map; subclasses say where they are and what the indices mean."""

    def read(self) -> None:
        """Samples without a text for each pair of the split, sorted by name."""
        self._classes = self.classes()
        for picture, label_map in self.pairs():
            with self.tolerated(picture):
                if not label_map.is_file():
                    message = f"{picture} has no label map {label_map}: add it or remove the picture."
                    raise DataError(message, "missing-file")
                for number in range(CLASSES_PER_PICTURE if self.phrasings == "all" else 1):
                    sample_id = f"{picture.stem}#{number}"
                    self.samples.append(Sample(sample_id, picture, label_map, "", False, source=self.name))

    def painted(self, index: int, image: Image.Image) -> Example:
        """Draw the sample's class; see `Reader`."""
        sample = self.samples[index]
        index_map = read_index_map(sample.annotation_path, image.height, image.width)
        present = np.unique(index_map).tolist()
        drawable = [value for value in present if value in self._classes]
        if not drawable:
            raise DataError(f"{sample.annotation_path} holds none of the classes: remove the pair.")
        random.Random(sample.image_path.stem).shuffle(drawable)
        number = int(sample.id.rpartition("#")[2])
        drawn = drawable[number % len(drawable)]
        mask = (index_map == drawn).astype(np.uint8)
        unlabelled = [value for value in present if value not in self._classes]
        mask[np.isin(index_map, unlabelled)] = IGNORE
        return Example(replace(sample, text=self._classes[drawn]), image, mask)

    @abstractmethod
    def classes(self) -> dict[int, str]:
        """Names by index; pixels of other indices are not counted."""

    @abstractmethod
    def pairs(self) -> Iterator[tuple[Path, Path]]:
        """Pictures of the split with their label maps, which need not exist; raises `DataError` without any."""

    def beside(self, pictures: Path, label_maps: Path) -> Iterator[tuple[Path, Path]]:
        """Each X.jpg of a folder with X.png of another; label maps without a picture are faults."""
        found = {path.stem: path for path in sorted(pictures.glob("*.jpg"))}
        for stem, path in found.items():
            yield path, label_maps / f"{stem}.png"
        for path in sorted(label_maps.glob("*.png")):
            if path.stem not in found:
                with self.tolerated(path):
                    message = f"{path} has no picture {pictures / (path.stem + '.jpg')}: add or remove it."
                    raise DataError(message, "missing-file")


class ADE20K(SemanticReader):
    """ADEChallengeData2016: objectInfo150.txt names the indices 1 to 150, 0 is anything else."""

    name = "ade20k"
    layout: ClassVar[str] = "objectInfo150.txt, images/training, annotations/training and the same of validation"

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether the table of objects lies beside annotations."""
        return (root / "objectInfo150.txt").is_file() and (root / "annotations").is_dir()

    def classes(self) -> dict[int, str]:
        """The first of the synonyms in the table's last column."""
        path = self.root / "objectInfo150.txt"
        names = {}
        for number, line in enumerate(read_text(path).splitlines()):
            columns = line.split("\t")
            if columns[0].strip().isdecimal() and len(columns) > 1:
                synonyms = columns[-1].replace(";", ",").split(",")
                names[int(columns[0])] = parse_sentence(synonyms[0], path, f"the name in line {number + 1}")
        if not names:
            raise DataError(f"{path} has no line of index, tab, ..., tab, name: restore the file of the published set.")
        return names

    def pairs(self) -> Iterator[tuple[Path, Path]]:
        """images/SPLIT and annotations/SPLIT."""
        for name in split_names(self.split):
            if (self.root / "images" / name).is_dir():
                return self.beside(self.root / "images" / name, self.root / "annotations" / name)
        raise self.no_split()


class CocoStuff(SemanticReader):
    """COCO-Stuff's pixel maps: labels.txt counts from 1, the maps from 0, and 255 is unlabelled."""

    name = "cocostuff"
    layout: ClassVar[str] = "labels.txt, SPLIT2017/X.jpg and stuffthingmaps_trainval2017/SPLIT2017/X.png"

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether the list of labels lies beside pictures of COCO 2017."""
        return cls._labels(root) is not None and bool(any(root.glob("*2017")) or any(root.glob("images/*2017")))

    def classes(self) -> dict[int, str]:
        """Names without their supercategory: `wall-brick` is a brick wall, `ceiling-other` a ceiling."""
        path = self._labels(self.root)
        if path is None:
            raise DataError(f"{self.root} has no labels.txt: take it from the published COCO-Stuff.")
        names = {}
        for number, line in enumerate(read_text(path).splitlines()):
            index, colon, name = line.partition(":")
            if colon and index.strip().isdecimal() and int(index) > 0:
                thing, _, kind = parse_sentence(name, path, f"the name in line {number + 1}").partition("-")
                names[int(index) - 1] = thing if kind in ("", "other", "stuff") else f"{kind} {thing}"
        if not names:
            raise DataError(f"{path} has no line such as `1: person`: take it from the published COCO-Stuff.")
        return names

    def pairs(self) -> Iterator[tuple[Path, Path]]:
        """The first folders of the split that are there; maps may lie beside the pictures, as LISA has them."""
        for name in (f"{self.split}2017", self.split):
            above = self.root.absolute().parent
            pictures = (self.root / name, self.root / "images" / name, above / "coco" / name)
            folder = next((path for path in pictures if any(path.glob("*.jpg"))), None)
            if folder is not None:
                kept = ("stuffthingmaps_trainval2017", "stuffthingmaps", "annotations", ".")
                maps = first_existing(self.root / place / name for place in kept)
                return self.beside(folder, maps or folder)
        raise self.no_split()

    @staticmethod
    def _labels(root: Path) -> Path | None:
        return first_existing((root / "labels.txt", root / "cocostuff_classes.txt", root / "cocostuff_labels.txt"))


class Mapillary(SemanticReader):
    """Mapillary Vistas: SPLIT/images, SPLIT/v2.0/labels and config_v2.0.json, or those of v1.2."""

    name = "mapillary"
    layout: ClassVar[str] = "config_v2.0.json, training/images, training/v2.0/labels and the same of validation"

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether a config lies beside training."""
        return cls._config(root) is not None and any((root / name / "images").is_dir() for name in split_names("train"))

    def classes(self) -> dict[int, str]:
        """Readable names by their place in the config; those that are not evaluated are not counted."""
        path = self._config(self.root)
        if path is None:
            raise DataError(f"{self.root} has no config_v2.0.json or config_v1.2.json: restore it.")
        content = read_json(path)
        labels = content.get("labels") if isinstance(content, dict) else None
        if not isinstance(labels, list) or not all(isinstance(label, dict) for label in labels):
            raise DataError(f"{path} has no list `labels`: restore the file of the published set.")
        return {
            index: parse_sentence(label.get("readable"), path, f"`readable` of label {index}").lower()
            for index, label in enumerate(labels)
            if label.get("evaluate", True)
        }

    def pairs(self) -> Iterator[tuple[Path, Path]]:
        """The split's pictures with the label maps of the config's version."""
        version = "v1.2" if "1.2" in (self._config(self.root) or Path()).name else "v2.0"
        for name in split_names(self.split):
            folder = self.root / name
            if (folder / "images").is_dir():
                maps = first_existing((folder / version / "labels", folder / "labels"))
                return self.beside(folder / "images", maps or folder / version / "labels")
        raise self.no_split()

    @staticmethod
    def _config(root: Path) -> Path | None:
        return first_existing((root / "config_v2.0.json", root / "config_v1.2.json"))
