"""Writers of formats with a file or a line for each target: jsonl, reasonseg, labelme."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Any

import numpy as np

from lisa_core.conversion.targets import Target
from lisa_core.conversion.writer import (
    ANSWERS,
    BLANKS,
    IGNORED,
    MERGED,
    NO_TARGET,
    PHRASINGS,
    RESERVED,
    SENTENCES,
    Masks,
    Writer,
    json_text,
    png,
    png_text,
    write_json,
)
from lisa_core.data.files import is_question
from lisa_core.data.links import link_or_copy
from lisa_core.data.picture_file import turn_of
from lisa_core.data.polygons import mask_to_polygons
from lisa_core.outputs import mask_to_rle
from lisa_core.run_lengths import rle_to_mask

_LABELME = "5.4.1"  # the version whose files these are like


class JsonlWriter(Writer):
    """`SPLIT.jsonl`, pictures in images/, with `png` masks in masks/SPLIT/. It holds everything."""

    forms = ("rle", "polygons", "png")

    def __init__(self, folder: Path, masks: Masks) -> None:
        super().__init__(folder, masks)
        self._files: dict[str, IO[bytes]] = {}

    def add(self, split: str, target: Target) -> None:
        """One line."""
        first = target.first
        entry: dict[str, Any] = {"image": f"images/{self.picture(target, 'images')}"}
        texts = target.texts
        entry["text"] = texts if len(texts) > 1 else texts[0]
        entry["id"] = self.id(split, first.id.rpartition("#")[0] or first.id)
        if first.no_target:
            entry["no_target"] = True
        else:
            entry |= self._outline(target.inside, split, entry["id"])
        if target.ignored.any():
            entry["ignore"] = self._outline(target.ignored, split, f"{entry['id']}_ignore")
        if first.answer is not None:
            entry["answer"] = first.answer
        if any(sample.is_sentence != is_question(sample.text) for sample in target.samples):
            entry["is_sentence"] = first.is_sentence
            self.lost[SENTENCES] += sum(sample.is_sentence != first.is_sentence for sample in target.samples)
        if split not in self._files:
            self._files[split] = (self.folder / f"{split}.jsonl").open("wb")
        self._files[split].write(json_text(entry).encode("utf-8", errors="backslashreplace") + b"\n")

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()

    def _outline(self, mask: np.ndarray, split: str, name: str) -> dict[str, Any]:
        if self.masks == "png":
            folder = f"masks/{split}"
            file = self.name(folder, name.replace("/", "_").replace("\\", "_") + ".png")
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
            (self.folder / folder / file).write_bytes(png(mask))
            return {"mask": f"{folder}/{file}"}
        outline = self.segmentation(mask)
        return {"rle": outline} if isinstance(outline, dict) else {"polygons": outline}


class ReasonSegWriter(Writer):
    """`SPLIT/X.jpg` with `X.json`, a pair for each target; copies of a picture are one file on disk where possible."""

    forms = ("polygons",)

    def add(self, split: str, target: Target) -> None:
        """A pair."""
        wanted = self.picture_name(target)
        path = self.folder / split / self.name(split, wanted)
        # X.jpg and X.png would be two pictures of one annotation
        while (path.with_suffix(".json")).exists():
            path = self.folder / split / self.name(split, wanted)
        key = split, target.first.image_path
        if key in self.pictures:
            link_or_copy(self.folder / split / self.pictures[key], path)
        else:
            self.save_picture(target, path)
            self.pictures[key] = path.name
        shapes = [
            {"label": label, "points": [[float(x), float(y)] for x, y in polygon]}
            for label, mask in (("target", target.inside), ("ignore", target.ignored))
            for polygon in mask_to_polygons(mask)
        ]
        is_sentence = target.first.is_sentence
        write_json(path.with_suffix(".json"), {"text": target.texts, "is_sentence": is_sentence, "shapes": shapes})
        self.lost[SENTENCES] += sum(sample.is_sentence != is_sentence for sample in target.samples)
        self.lost[ANSWERS] += target.first.answer is not None

    def close(self) -> None:
        """Everything is written."""


class LabelmeWriter(Writer):
    """`SPLIT/X.jpg` with `X.json`: the texts of a picture are the labels of its shapes."""

    forms = ("png", "polygons")

    def __init__(self, folder: Path, masks: Masks) -> None:
        super().__init__(folder, masks)
        # by split and picture: size, and text and run lengths of each target and of what is not counted
        self._waiting: dict[tuple[str, str], tuple[tuple[int, int], dict[str, tuple[Any, Any]]]] = {}

    def keeps(self, target: Target) -> bool:
        """Not what EXIF turns: labelme would show it turned, beside its outlines."""
        return super().keeps(target) and not turn_of(target.image)

    def add(self, split: str, target: Target) -> None:
        """Keep a target until all of its picture are known."""
        text = target.first.text
        if target.first.no_target:
            self.lost[NO_TARGET] += 1
            return
        if text.strip("_").lower() in ("ignore", "background"):
            self.lost[RESERVED] += 1
            return
        name = self.picture(target, split)
        labels = self._waiting.setdefault((split, name), (target.mask.shape, {}))[1]
        inside, ignored = target.inside, target.ignored
        if text in labels:
            self.lost[MERGED] += 1
            inside, ignored = (m | rle_to_mask(rle) for m, rle in zip((inside, ignored), labels[text]))
        labels[text] = mask_to_rle(inside), mask_to_rle(ignored)
        self.lost[BLANKS] += "_" in text
        self.lost[PHRASINGS] += len(target.texts) - 1
        self.lost[ANSWERS] += target.first.answer is not None
        self.lost[SENTENCES] += target.first.is_sentence != is_question(text)

    def close(self) -> None:
        """A file for each picture; what is not counted is so for all its targets."""
        stems: set[tuple[str, str]] = set()
        for (split, name), (shape, labels) in self._waiting.items():
            masks = {text: (rle_to_mask(inside), rle_to_mask(ignored)) for text, (inside, ignored) in labels.items()}
            ignored = np.zeros(shape, dtype=bool)
            for _, own in masks.values():
                ignored |= own
            self.lost[IGNORED] += sum(bool(((ignored & ~inside) != own).any()) for inside, own in masks.values())
            shapes = self._shapes("__ignore__", ignored) if ignored.any() else []
            for text, (inside, _) in masks.items():
                shapes += self._shapes(text, inside)
            path = self.folder / split / name
            file = path.with_suffix(".json")
            if (split, path.stem.lower()) in stems:  # X.jpg and X.png
                file = path.with_name(self.name(f"{split} json", f"{path.stem}_{path.suffix[1:]}.json"))
            stems.add((split, path.stem.lower()))
            head: dict[str, Any] = {
                "version": _LABELME,
                "flags": {},
                "shapes": shapes,
                "imagePath": name,
                "imageData": None,
            }
            write_json(file, head | {"imageHeight": shape[0], "imageWidth": shape[1]})

    def _shapes(self, label: str, mask: np.ndarray) -> list[dict[str, Any]]:
        base: dict[str, Any] = {"label": label, "group_id": None, "description": "", "flags": {}}
        if self.masks == "polygons" and mask.any():
            return [
                base | {"shape_type": "polygon", "points": [[float(x), float(y)] for x, y in polygon], "mask": None}
                for polygon in mask_to_polygons(mask)
            ]
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        y0, y1, x0, x1 = (rows[0], rows[-1], columns[0], columns[-1]) if len(rows) else (0, 0, 0, 0)
        corners = [[float(x0), float(y0)], [float(x1), float(y1)]]
        crop = mask[y0 : y1 + 1, x0 : x1 + 1]
        return [base | {"shape_type": "mask", "points": corners, "mask": png_text(crop)}]
