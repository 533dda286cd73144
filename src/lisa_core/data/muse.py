"""MUSE: questions whose answers name several objects, each with its mask; MUSE_SPLIT.json and pictures of COCO."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from PIL import Image

from lisa_core.data.base import Example, Sample
from lisa_core.data.files import (
    Pictures,
    begins_with,
    first_existing,
    parse_sentence,
    read_json,
    short,
    split_names,
    usual_first,
)
from lisa_core.data.masks import paint_segmentation
from lisa_core.data.reader import Reader
from lisa_core.errors import DataError

PLACEHOLDER = "{seg}"
"""What stands for a mask in an answer."""
_FOLDERS = ("train2017", "val2017", "train2014")


class Muse(Reader):
    """`MUSE_SPLIT.json`: `{"file_name" or "coco_url", "questions", "answers", "text_answers"}` for each picture.

    A sample is a question; `answers` has the outlines of each of its objects, `text_answers` the words with a `{seg}`
    for each of them. Without words the objects' names are listed.
    """

    name = "muse"
    layout: ClassVar[str] = "MUSE_SPLIT.json, a list of questions, answers and text_answers, and the pictures of COCO"

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether there is a list called so."""
        return any(begins_with(path, "[") for path in root.glob("MUSE_*.json"))

    @classmethod
    def splits(cls, root: Path) -> list[str]:
        """What the files are called."""
        return usual_first(path.stem.removeprefix("MUSE_") for path in root.glob("MUSE_*.json"))

    def read(self) -> None:
        """A sample for each question, in the file's order."""
        path = first_existing(self.root / f"MUSE_{name}.json" for name in split_names(self.split))
        if path is None:
            raise self.no_split()
        entries = read_json(path)
        if not isinstance(entries, list):
            raise DataError(f"{path} must be a list of pictures with questions, not {type(entries).__name__}.")
        pictures = Pictures(self.root, self._picture_folders())
        self._outlines: list[list[Any]] = []
        for number, entry in enumerate(entries):
            with self.tolerated(path):
                self._add(entry, number, path, pictures)

    def painted(self, index: int, image: Image.Image) -> Example:
        """See `Reader`; `masks` and `instances` are the objects in the answer's order, `mask` is all of them."""
        sample = self.samples[index]
        masks = []
        for place, outline in enumerate(self._outlines[index]):
            where = f"{sample.annotation_path}: object {place} of question {sample.id}"
            masks.append(paint_segmentation(outline, image.height, image.width, where).astype(np.uint8))
        return Example(sample, image, np.maximum.reduce(masks), masks, masks)

    def _add(self, entry: Any, number: int, path: Path, pictures: Pictures) -> None:
        if not isinstance(entry, dict):
            raise DataError(f"{path}: entry {number} must be an object with `questions` and `answers`.")
        url = entry.get("coco_url")
        name = entry["file_name"] if "file_name" in entry else url.rpartition("/")[2] if isinstance(url, str) else url
        picture = pictures.find(name, path, f"the picture of entry {number}")
        questions, answers = entry.get("questions"), entry.get("answers")
        if not isinstance(questions, list) or not isinstance(answers, list) or len(questions) != len(answers):
            raise DataError(f"{path}: entry {number} must have as many answers as questions: {short(questions)}.")
        words = entry.get("text_answers") or [None] * len(questions)
        if not isinstance(words, list) or len(words) != len(questions):
            raise DataError(f"{path}: entry {number} must have as many text_answers as questions: {short(words)}.")
        for place, (text, objects, said) in enumerate(zip(questions, answers, words)):
            with self.tolerated(path):
                where = f"question {place} of entry {number}"
                text = parse_sentence(text, path, where)
                if not isinstance(objects, list) or not all(isinstance(one, dict) for one in objects) or not objects:
                    raise DataError(f"{path}: {where} must have a list of objects as its answer: {short(objects)}.")
                reply = _listed(objects) if said is None else parse_sentence(said, path, f"the answer to {where}")
                places = reply.count(PLACEHOLDER)
                if places != len(objects):
                    raise DataError(
                        f"{path}: the answer to {where} has {places} {PLACEHOLDER} for {len(objects)} objects: correct "
                        "it, or use --on-error skip."
                    )
                sample_id = f"{number}#{place}"
                self.samples.append(Sample(sample_id, picture, path, text, True, reply, source=self.name, kind="masks"))
                self._outlines.append([one.get("segmentation") for one in objects])

    def _picture_folders(self) -> list[Path]:
        """The folder's own pictures, those of a `coco` beside it, or those of the layout it was published with."""
        above = self.root.absolute().parent
        published = above.parent / "refer_seg" / "images" / "mscoco" / "images"
        bases = (self.root, self.root / "images", above / "coco", above / "images", published)
        return [*(base / name for base in bases for name in _FOLDERS), self.root / "images", self.root]


def _listed(objects: list[dict[str, Any]]) -> str:
    """`A dog {seg} and a kite {seg}.`, from the objects' names."""
    names = [one.get("rephrased_name") or one.get("category_name") for one in objects]
    parts = [f"{_name(name)} {PLACEHOLDER}" for name in names]
    text = f"{', '.join(parts[:-1])} and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"{text[0].upper()}{text[1:]}."


def _name(value: object) -> str:
    text = value.replace(PLACEHOLDER, "").replace("_", " ").strip() if isinstance(value, str) else ""
    return text or "object"
