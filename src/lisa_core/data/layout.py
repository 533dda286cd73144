"""Where a ReasonSeg folder keeps its pictures and annotations: one folder per split, or one list per split."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath

from lisa_core.data.annotation import parse_sentence, read_json
from lisa_core.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

Fault = tuple[Path, DataError]


@dataclass(frozen=True)
class Pair:
    """A picture and its annotation; whether the files can be used is checked by whoever reads them."""

    image: Path
    """The picture."""
    annotation: Path
    """The annotation, JSON."""
    query: str | None = None
    """The sentence a flat list gives; None when the annotation's own sentences count."""


def find_pairs(root: Path, split: str) -> tuple[list[Pair], list[Fault]]:
    """The split's pairs, sorted by file name, and the entries that make no pair.

    Raises `DataError` when the folder or the split is missing or empty: nothing could be skipped then.
    """
    if not root.is_dir():
        raise DataError(f"{root} is not a folder: give the folder that holds {split}/ or {split}.json.")
    folder, flat = root / split, root / f"{split}.json"
    if folder.is_dir():
        pairs, faults = _from_folder(folder)
        # Some flat sets keep the pictures of the list in a folder of the split's name, with the annotations elsewhere.
        if pairs or not flat.is_file():
            if not pairs and not faults:
                raise DataError(f"{folder} holds no annotated image: put X.jpg and X.json pairs there.")
            return pairs, faults
    if flat.is_file():
        return _from_list(root, split, flat)
    raise DataError(
        f"{root} has no split '{split}': it needs a folder {split}/ of X.jpg and X.json pairs, or {split}.json."
    )


def _from_folder(folder: Path) -> tuple[list[Pair], list[Fault]]:
    """Pairs of equal stem in one folder; hidden files (`._X.jpg` of macOS archives) are passed over."""
    images: dict[str, list[Path]] = defaultdict(list)
    annotations: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        if path.suffix.lower() == ".json":
            annotations[path.stem].append(path)
        elif path.suffix.lower() in IMAGE_SUFFIXES:
            images[path.stem].append(path)
    pairs, faults = [], []
    for stem in sorted(images.keys() | annotations.keys()):
        found = images[stem], annotations[stem]
        first = (found[1] or found[0])[0]
        if not found[1]:
            faults.append(
                (first, DataError(f"{first} has no {stem}.json beside it: add the annotation or remove the image."))
            )
        elif not found[0]:
            faults.append(
                (first, DataError(f"{first} has no image {stem}.jpg or .png beside it: restore it or remove the file."))
            )
        elif len(found[0]) > 1 or len(found[1]) > 1:
            names = ", ".join(path.name for path in found[0] + found[1])
            faults.append(
                (first, DataError(f"{folder} holds more than one file called '{stem}' ({names}): keep one pair."))
            )
        else:
            pairs.append(Pair(found[0][0], found[1][0]))
    return pairs, faults


def _from_list(root: Path, split: str, flat: Path) -> tuple[list[Pair], list[Fault]]:
    """Pairs that a flat list names."""
    entries = read_json(flat)
    if not isinstance(entries, list):
        kind = type(entries).__name__
        raise DataError(f"{flat} must be a list of {{image, json, query}}, not {kind}: write one entry per sentence.")
    if not entries:
        raise DataError(f"{flat} is an empty list: add entries of image, json and query.")
    pairs, faults = [], []
    for number, entry in enumerate(entries):
        where = f"entry {number}"
        try:
            if not isinstance(entry, dict):
                raise DataError(f"{flat}: {where} must be an object with image, json and query.")
            image = _resolve(root, split, flat, entry.get("image"), f"`image` of {where}")
            annotation = _resolve(root, split, flat, entry.get("json"), f"`json` of {where}")
            query = entry.get("query")
            if query is not None:
                query = parse_sentence(query, flat, f"`query` of {where}")
            pairs.append(Pair(image, annotation, query))
        except DataError as error:
            faults.append((flat, error))
    pairs.sort(key=lambda pair: (pair.image.as_posix(), pair.annotation.as_posix()))
    return pairs, faults


def _resolve(root: Path, split: str, flat: Path, name: object, what: str) -> Path:
    """The file a flat list names, below ROOT or else ROOT/SPLIT; raises `DataError` when it is missing or elsewhere."""
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise DataError(f"{flat}: {what} must be a file name, not {name!r}.")
    normal = posixpath.normpath(name.replace("\\", "/"))
    if normal.startswith(("/", "../")) or normal in (".", "..") or PureWindowsPath(name).drive:
        raise DataError(f"{flat}: {what} points outside of the dataset ({name!r}): use a path below {root}.")
    for candidate in (root / normal, root / split / normal):
        if candidate.is_file():
            return candidate
    raise DataError(
        f"{flat}: {what} names {name!r}, which is neither in {root} nor in {root / split}: restore or correct it."
    )
