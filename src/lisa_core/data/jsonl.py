"""Our own format for one's own data: a line of JSON for each target, with its picture, sentences and outline."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from lisa_core.data.base import Example, Sample, load_image
from lisa_core.data.files import (
    first_existing,
    held_out,
    inner_path,
    is_question,
    parse_json,
    parse_sentence,
    read_text,
    short,
    split_names,
)
from lisa_core.data.masks import decode_rle, paint_box, polygon_points, read_mask
from lisa_core.data.polygons import paint_polygon
from lisa_core.data.reader import Reader
from lisa_core.errors import DataError
from lisa_core.types import IGNORE

OUTLINES = ("mask", "polygons", "rle", "box")
FIELDS = ("image", "text", *OUTLINES, "no_target", "ignore", "answer", "is_sentence", "split", "id", "meta")


class Jsonl(Reader):
    """`SPLIT.jsonl`, or one `*.jsonl` for all splits.

    In one file `split` says where a line belongs; when no line has it, a tenth of the pictures is `val` and the rest
    `train`. docs/formats/jsonl.md has the fields.
    """

    name = "jsonl"
    layout: ClassVar[str] = "SPLIT.jsonl, or one .jsonl for all splits"

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether the folder holds such a file."""
        return any(root.glob("*.jsonl"))

    def read(self) -> None:
        """A sample for each sentence of each line, in the file's order."""
        path, entries = self._entries()
        self._targets: list[dict[str, Any]] = []
        seen: dict[str, str] = {}
        for number, entry in entries:
            where = f"{path}, line {number}"
            with self.tolerated(path):
                self._check(entry, path, where)
                image = self._file(entry.get("image"), path, f"`image` of line {number}")
                texts = entry["text"] if isinstance(entry.get("text"), list) else [entry.get("text")]
                if not texts:
                    raise DataError(f"{where}: `text` is an empty list: write at least one sentence.")
                name = str(entry.get("id", f"{path.stem}_{number}"))
                if name in seen:
                    raise DataError(f"{where}: the id {name!r} is that of {seen[name]} too: give each line its own.")
                seen[name] = f"line {number}"
                texts = [parse_sentence(text, where, "`text`") for text in texts]
                for count, text in enumerate(texts if self.phrasings == "all" else texts[:1]):
                    is_sentence = entry.get("is_sentence", is_question(text))
                    self.samples.append(
                        Sample(
                            f"{name}#{count}",
                            image,
                            path,
                            text,
                            is_sentence,
                            entry.get("answer"),
                            self.name,
                            bool(entry.get("no_target")),
                        )
                    )
                    self._targets.append(entry | {"where": where})

    def load(self, index: int) -> Example:
        """Decode sample `index`; raises `DataError` that names the picture or line that cannot be used."""
        sample, entry = self.samples[index], self._targets[index]
        image = load_image(sample.image_path)
        mask = self._paint(entry, image.height, image.width, entry["where"]).astype(np.uint8)
        ignored = entry.get("ignore", [])
        for outline in ignored if isinstance(ignored, list) else [ignored]:
            inside = self._paint(outline, image.height, image.width, f"{entry['where']}: `ignore`")
            mask[inside & (mask == 0)] = IGNORE
        return Example(sample, image, mask)

    def _entries(self) -> tuple[Path, list[tuple[int, Any]]]:
        """The lines of the split with their numbers from 1; lines that are no JSON are faults."""
        own = first_existing(self.root / f"{name}.jsonl" for name in split_names(self.split))
        path = own or self._shared()
        entries = []
        for number, line in enumerate(read_text(path).split("\n"), 1):
            if line.strip():
                with self.tolerated(path):
                    entry = parse_json(line, f"{path}, line {number}")
                    if not isinstance(entry, dict):
                        raise DataError(f"{path}, line {number} must be an object with `image` and `text`.")
                    entries.append((number, entry))
        if own is not None:
            return path, entries
        marks = sorted({str(entry["split"]) for _, entry in entries if "split" in entry})
        if marks:
            wanted = [(n, entry) for n, entry in entries if entry.get("split", "train") in split_names(self.split)]
            if not wanted:
                raise DataError(f"{path} has no line of the split '{self.split}': it has {', '.join(marks)}.")
            return path, wanted
        if self.split not in ("train", "val"):
            raise DataError(f"{path} has no split '{self.split}': write {self.split}.jsonl, or `split` into the lines.")
        val = held_out([str(entry.get("image")) for _, entry in entries])
        return path, [(n, entry) for n, entry in entries if (str(entry.get("image")) in val) == (self.split == "val")]

    def _shared(self) -> Path:
        """The one file that holds all splits."""
        named = {f"{name}.jsonl" for split in ("train", "val", "test") for name in split_names(split)}
        files = [path for path in sorted(self.root.glob("*.jsonl")) if path.name not in named]
        if len(files) > 1:
            names = ", ".join(path.name for path in files)
            raise DataError(f"{self.root} has no {self.split}.jsonl, and several files besides ({names}): keep one.")
        if not files:
            raise self.no_split()
        return files[0]

    def _check(self, entry: dict[str, Any], path: Path, where: str) -> None:
        """Raise `DataError` for a line that says something it cannot mean."""
        for name in entry:
            if name not in FIELDS:
                near = difflib.get_close_matches(name, FIELDS, n=1)
                guess = f"did you mean `{near[0]}`?" if near else "put notes of your own under `meta`."
                raise DataError(f"{where} has the unknown field {short(name)}: {guess}")
        for name, kind, form in (
            ("no_target", bool, "true or false"),
            ("is_sentence", bool, "true or false"),
            ("split", str, "a name"),
        ):
            if name in entry and not isinstance(entry[name], kind):
                raise DataError(f"{where}: `{name}` must be {form}, not {short(entry[name])}.")
        if entry.get("answer") is not None:
            parse_sentence(entry["answer"], where, "`answer`")
        given = [name for name in OUTLINES if name in entry]
        if entry.get("no_target") and given:
            raise DataError(f"{where} has `no_target` and {given[0]}: it is one or the other.")
        if not entry.get("no_target"):
            self._check_outline(entry, path, where, "or `no_target`: true when there is nothing to be found")
        ignored = entry.get("ignore", [])
        for outline in ignored if isinstance(ignored, list) else [ignored]:
            if not isinstance(outline, dict):
                raise DataError(f"{where}: `ignore` must be an object (or a list of them) with one of {_listed()}.")
            self._check_outline(outline, path, f"{where}: `ignore`", "no more")

    def _check_outline(self, outline: dict[str, Any], path: Path, where: str, otherwise: str) -> None:
        given = [name for name in OUTLINES if name in outline]
        if len(given) != 1:
            raise DataError(f"{where} has {' and '.join(given) or 'no outline'}: give one of {_listed()}, {otherwise}.")
        value = outline[given[0]]
        if given[0] == "mask":
            self._file(value, path, f"`mask` ({where.removeprefix(str(path)).strip(', ')})")
        elif given[0] == "polygons":
            if not isinstance(value, list) or not value:
                raise DataError(f"{where}: `polygons` must be a list of polygons, not {short(value)}.")
            for polygon in value:
                polygon_points(polygon, where)
        elif given[0] == "rle":
            if not isinstance(value, dict):
                raise DataError(f"{where}: `rle` must be an object with `size` and `counts`, not {short(value)}.")
        else:
            paint_box(value, 1, 1, where)

    def _paint(self, outline: dict[str, Any], height: int, width: int, where: str) -> np.ndarray:
        """Bool [H,W]."""
        if "mask" in outline:
            return read_mask(self.root / inner_path(outline["mask"], Path(where), "`mask`", self.root), height, width)
        if "rle" in outline:
            return decode_rle(outline["rle"], height, width, where)
        if "box" in outline:
            return paint_box(outline["box"], height, width, where)
        mask = np.zeros((height, width), dtype=bool)
        for polygon in outline.get("polygons", []):
            mask |= paint_polygon(polygon_points(polygon, where), height, width)
        return mask

    def _file(self, name: object, path: Path, what: str) -> Path:
        """A file below the folder; raises `DataError` when it leads outside or is missing."""
        found = self.root / inner_path(name, path, what, self.root)
        if not found.is_file():
            raise DataError(f"{path}: {what} names {name!r}, which is not in {self.root}: restore or correct it.")
        return found


def _listed() -> str:
    return ", ".join(f"`{name}`" for name in OUTLINES)
