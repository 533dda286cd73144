"""Writers of formats with one file for many targets: coco, refer, grefcoco, sa2va."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lisa_core.conversion.targets import Target
from lisa_core.conversion.writer import (
    ANSWERS,
    APART,
    BLANKS,
    IGNORED,
    MERGED,
    NO_TARGET,
    PHRASINGS,
    SENTENCES,
    Masks,
    Writer,
    write_json,
)
from lisa_core.data.files import is_question
from lisa_core.outputs import mask_to_box, mask_to_rle


class _Instances:
    """The content of a COCO JSON that grows."""

    def __init__(self) -> None:
        self.images: dict[str, dict[str, Any]] = {}
        self.categories: dict[str, int] = {}
        self.annotations: list[dict[str, Any]] = []

    def image(self, file_name: str, target: Target) -> int:
        """The id of a picture."""
        new = {"id": len(self.images) + 1, "file_name": file_name}
        size = {"width": target.image.width, "height": target.image.height}
        return self.images.setdefault(file_name, new | size)["id"]

    def category(self, name: str) -> int:
        """The id of a category."""
        return self.categories.setdefault(name, len(self.categories) + 1)

    def add(self, image: int, category: int, mask: np.ndarray, segmentation: Any, is_crowd: bool = False) -> int:
        """The id of a new annotation."""
        self.annotations.append(
            {
                "id": len(self.annotations) + 1,
                "image_id": image,
                "category_id": category,
                "segmentation": segmentation,
                "area": int(mask.sum()),
                "bbox": mask_to_box(mask) or [0, 0, 0, 0],
                "iscrowd": int(is_crowd),
            }
        )
        return len(self.annotations)

    def write(self, path: Path) -> None:
        """The file."""
        categories = [{"id": key, "name": name, "supercategory": ""} for name, key in self.categories.items()]
        write_json(
            path,
            {"images": list(self.images.values()), "annotations": self.annotations, "categories": categories},
        )


class CocoWriter(Writer):
    """annotations/instances_SPLIT.json and images/: texts are categories, what is not counted a crowd of its own."""

    forms = ("rle", "polygons")

    def __init__(self, folder: Path, masks: Masks) -> None:
        super().__init__(folder, masks)
        self._files: dict[str, _Instances] = {}
        self._known: set[tuple[str, int, int]] = set()

    def add(self, split: str, target: Target) -> None:
        """An annotation, and a crowd."""
        first = target.first
        if first.no_target:
            self.lost[NO_TARGET] += 1
            return
        file = self._files.setdefault(split, _Instances())
        image = file.image(self.picture(target, "images"), target)
        category = file.category(first.text)
        if (split, image, category) in self._known:
            self.lost[MERGED] += 1
        self._known.add((split, image, category))
        file.add(image, category, target.inside, self.segmentation(target.inside))
        if target.ignored.any():
            file.add(image, category, target.ignored, mask_to_rle(target.ignored), is_crowd=True)
        self.lost[BLANKS] += "_" in first.text
        self.lost[PHRASINGS] += len(target.texts) - 1
        self.lost[SENTENCES] += first.is_sentence
        self.lost[ANSWERS] += first.answer is not None

    def close(self) -> None:
        """A JSON for each split."""
        for split, file in self._files.items():
            file.write(self.folder / "annotations" / f"instances_{split}.json")


class ReferWriter(Writer):
    """refs(unc).p, instances.json and images/: every phrasing is a sentence of its object."""

    forms = ("rle", "polygons")
    has_no_target: ClassVar[bool] = False

    def __init__(self, folder: Path, masks: Masks) -> None:
        super().__init__(folder, masks)
        self._instances = _Instances()
        self._category = self._instances.category("object")
        self._references: list[dict[str, Any]] = []
        self._sentences = 0

    def add(self, split: str, target: Target) -> None:
        """A reference with its object."""
        first = target.first
        if first.no_target and not self.has_no_target:
            self.lost[NO_TARGET] += 1
            return
        name = self.picture(target, "images")
        image = self._instances.image(name, target)
        annotation = -1
        if not first.no_target:
            outline = self.segmentation(target.inside)
            annotation = self._instances.add(image, self._category, target.inside, outline)
        sentences = []
        for text in target.texts:
            self._sentences += 1
            sentences.append({"tokens": text.split(), "raw": text, "sent": text, "sent_id": self._sentences})
        self._references.append(
            {
                "ref_id": len(self._references) + 1,
                "ann_id": [annotation] if self.has_no_target else annotation,
                "category_id": [self._category if annotation > 0 else -1] if self.has_no_target else self._category,
                "image_id": image,
                "file_name": name,
                "split": split,
                "sentences": sentences,
                "sent_ids": [sentence["sent_id"] for sentence in sentences],
            }
        )
        self.lost[IGNORED] += bool(target.ignored.any())
        self.lost[SENTENCES] += sum(sample.is_sentence for sample in target.samples)
        self.lost[ANSWERS] += first.answer is not None

    def close(self) -> None:
        """The two files."""
        self._instances.write(self.folder / "instances.json")
        self.write_references(self._references)

    def write_references(self, references: list[dict[str, Any]]) -> None:
        """A pickle of plain data, in the protocol that the published ones have."""
        (self.folder / "refs(unc).p").write_bytes(pickle.dumps(references, protocol=2))


class GReferWriter(ReferWriter):
    """grefs(unc).json instead; it can say that there is no target."""

    has_no_target = True

    def write_references(self, references: list[dict[str, Any]]) -> None:
        """JSON, as gRefCOCO publishes it."""
        write_json(self.folder / "grefs(unc).json", references)


class Sa2VAWriter(Writer):
    """annotations_SPLIT.json and images/: every phrasing has the mask of its target."""

    forms = ("polygons", "rle")

    def __init__(self, folder: Path, masks: Masks) -> None:
        super().__init__(folder, masks)
        self._entries: dict[str, dict[str, dict[str, Any]]] = {}

    def add(self, split: str, target: Target) -> None:
        """Masks and texts of a picture."""
        name = self.picture(target, "images")
        entry = self._entries.setdefault(split, {}).setdefault(name, {"image": name, "mask": [], "text": []})
        outline = self.segmentation(target.inside)
        for text in target.texts:
            entry["mask"].append(outline)
            entry["text"].append(text)
        self.lost[APART] += len(target.texts) - 1
        self.lost[IGNORED] += bool(target.ignored.any())
        self.lost[SENTENCES] += sum(sample.is_sentence != is_question(sample.text) for sample in target.samples)
        self.lost[ANSWERS] += target.first.answer is not None
        self.lost["samples without a target keep an empty mask, and no word that it is so on purpose"] += (
            target.first.no_target
        )

    def close(self) -> None:
        """A JSON for each split."""
        for split, entries in self._entries.items():
            write_json(self.folder / f"annotations_{split}.json", list(entries.values()))
