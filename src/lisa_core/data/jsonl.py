"""Our own format for one's own data: a line of JSON for each target, with its picture, sentences and outline."""

from __future__ import annotations

import contextlib
import difflib
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from PIL import Image

from lisa_core.data.base import Example, NoSplitError, Sample
from lisa_core.data.files import (
    first_existing,
    held_out,
    inner_path,
    is_question,
    parse_json,
    parse_sentence,
    short,
    split_names,
    usual_first,
)
from lisa_core.data.lines import Line, Lines
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

    Outlines stay in the file: of each target only its place is kept, so that memory does not grow with them.
    """

    name = "jsonl"
    layout: ClassVar[str] = "SPLIT.jsonl, or one .jsonl for all splits"

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether the folder holds such a file."""
        return any(root.glob("*.jsonl"))

    @classmethod
    def splits(cls, root: Path) -> list[str]:
        """The names of the files, or what the lines of the only one say."""
        names = [path.stem for path in root.glob("*.jsonl")]
        if len(names) != 1 or names[0] in {name for split in ("train", "val", "test") for name in split_names(split)}:
            return usual_first(names)
        return usual_first(_said(Lines(root / f"{names[0]}.jsonl")).splits) or ["train", "val"]

    def read(self) -> None:
        """A sample for each sentence of each line, in the file's order."""
        path, entries = self._entries()
        # of each sample the number, the place and the checksum of its line
        self._numbers, self._places, self._checks = array("Q"), array("Q"), array("Q")
        pictures: dict[object, Path] = {}  # many lines are about one picture, which is one path then
        seen: dict[str, int] = {}
        for line, entry in entries:
            number, where = line.number, f"{path}, line {line.number}"
            with self.tolerated(path):
                self._check(entry, path, where)
                image = self._picture(entry.get("image"), path, number, pictures)
                given = entry["text"] if isinstance(entry.get("text"), list) else [entry.get("text")]
                if not given:
                    raise DataError(f"{where}: `text` is an empty list: write at least one sentence.", "text")
                name = str(entry.get("id", f"{path.stem}_{number}"))
                if name in seen:
                    message = f"{where}: the id {name!r} is that of line {seen[name]} too: give each line its own."
                    raise DataError(message, "duplicate-id")
                seen[name] = number
                texts = [parse_sentence(text, where, "`text`") for text in given]
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
                    self._numbers.append(number)
                    self._places.append(line.offset)
                    self._checks.append(line.check)

    def painted(self, index: int, image: Image.Image) -> Example:
        """See `Reader`."""
        sample = self.samples[index]
        where = f"{sample.annotation_path}, line {self._numbers[index]}"
        entry = parse_json(self._lines.at(self._places[index], self._checks[index]), where)
        mask = self._paint(entry, image.height, image.width, where).astype(np.uint8)
        ignored = entry.get("ignore", [])
        for outline in ignored if isinstance(ignored, list) else [ignored]:
            inside = self._paint(outline, image.height, image.width, f"{where}: `ignore`")
            mask[inside & (mask == 0)] = IGNORE
        return Example(sample, image, mask)

    def _entries(self) -> tuple[Path, Iterator[tuple[Line, dict[str, Any]]]]:
        """The lines of the split; lines that are no JSON are faults."""
        own = first_existing(self.root / f"{name}.jsonl" for name in split_names(self.split))
        path = own or self._shared()
        self._lines = Lines(path)
        everything = self._parsed(path)
        if own is not None:
            return path, everything
        said = _said(self._lines)
        if said.splits:
            wanted = split_names(self.split)
            if not said.splits & set(wanted):
                named = ", ".join(sorted(said.splits))
                raise NoSplitError(f"{path} has no line of the split '{self.split}': it has {named}.")
            return path, ((line, entry) for line, entry in everything if str(entry.get("split", "train")) in wanted)
        if self.split not in ("train", "val"):
            advice = f"write {self.split}.jsonl, or `split` into the lines."
            raise NoSplitError(f"{path} has no split '{self.split}': {advice}")
        val, is_val = held_out(list(said.images)), self.split == "val"
        return path, ((line, entry) for line, entry in everything if (str(entry.get("image")) in val) == is_val)

    def _parsed(self, path: Path) -> Iterator[tuple[Line, dict[str, Any]]]:
        """Every line that is an object."""
        for line in self._lines:
            entry = None
            with self.tolerated(path):
                entry = parse_json(line.text, f"{path}, line {line.number}")
                if not isinstance(entry, dict):
                    entry = None
                    raise DataError(f"{path}, line {line.number} must be an object with `image` and `text`.")
            if entry is not None:
                yield line, entry

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
                raise DataError(f"{where}: `polygons` must be a list of polygons, not {short(value)}.", "polygon")
            for polygon in value:
                polygon_points(polygon, where)
        elif given[0] == "rle":
            if not isinstance(value, dict):
                raise DataError(
                    f"{where}: `rle` must be an object with `size` and `counts`, not {short(value)}.", "rle"
                )
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

    def _picture(self, name: object, path: Path, number: int, found: dict[object, Path]) -> Path:
        """The picture of a line, looked for once."""
        if not isinstance(name, str) or name not in found:
            found[name] = self._file(name, path, f"`image` of line {number}")
        return found[name]

    def _file(self, name: object, path: Path, what: str) -> Path:
        """A file below the folder; raises `DataError` when it leads outside or is missing."""
        found = self.root / inner_path(name, path, what, self.root)
        if not found.is_file():
            message = f"{path}: {what} names {name!r}, which is not in {self.root}: restore or correct it."
            raise DataError(message, "missing-file")
        return found


class _Said(NamedTuple):
    """What the lines of a file say about splits."""

    splits: set[str]
    """Those they name; `train` too where some lines name one and others do not."""
    images: set[str]
    """Their pictures."""


def _said(lines: Lines) -> _Said:
    """Look through a file; lines that cannot be read are passed over."""
    splits, images, is_silent = set(), set(), False
    for line in lines:
        with contextlib.suppress(DataError):
            entry = parse_json(line.text, "")
            if isinstance(entry, dict):
                images.add(str(entry.get("image")))
                is_silent |= "split" not in entry
                splits |= {str(entry["split"])} if "split" in entry else set()
    return _Said(splits | {"train"} if splits and is_silent else splits, images)


def _listed() -> str:
    return ", ".join(f"`{name}`" for name in OUTLINES)
