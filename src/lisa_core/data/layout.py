"""Where a ReasonSeg folder keeps its pictures and annotations: one folder per split, or one list per split."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from lisa_core.data.base import NoSplitError
from lisa_core.data.files import IMAGE_SUFFIXES, begins_with, inner_path, parse_sentence, read_json, usual_first
from lisa_core.errors import DataError

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
    raise NoSplitError(
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
                _absent(first, f"{first} has no {stem}.json beside it: add the annotation or remove the image.")
            )
        elif not found[0]:
            faults.append(
                _absent(first, f"{first} has no image {stem}.jpg or .png beside it: restore it or remove the file.")
            )
        elif len(found[0]) > 1 or len(found[1]) > 1:
            names = ", ".join(path.name for path in found[0] + found[1])
            message = f"{folder} holds more than one file called '{stem}' ({names}): keep one pair."
            faults.append((first, DataError(message, "duplicate-id")))
        else:
            pairs.append(Pair(found[0][0], found[1][0]))
    return pairs, faults


def _absent(path: Path, message: str) -> Fault:
    return path, DataError(message, "missing-file")


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
    normal = inner_path(name, flat, what, root)
    for candidate in (root / normal, root / split / normal):
        if candidate.is_file():
            return candidate
    raise DataError(
        f"{flat}: {what} names {name!r}, which is neither in {root} nor in {root / split}: restore or correct it.",
        "missing-file",
    )


def has_pairs(root: Path) -> bool:
    """Whether a folder, or a folder in it, holds a picture with its annotation, or a flat list names annotations.

    labelme writes such pairs too; it is told by its key `imagePath`, beside no `text`. Only the first
    pair is looked at.
    """
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir() and path.name[0] != ".")):
        first = first_pair(folder)
        if first is not None:
            return not is_labelme(first)
    return any(b'"json"' in _head(path) for path in root.glob("*.json") if begins_with(path, "["))


def splits_of(root: Path) -> list[str]:
    """The folders that hold a picture with its annotation, and the flat lists; train, val and test come first."""
    names = {path.name for path in root.iterdir() if path.is_dir() and path.name[0] != "." and first_pair(path)}
    names |= {path.stem for path in root.glob("*.json") if begins_with(path, "[") and b'"json"' in _head(path)}
    return usual_first(names | {name for name in ("train", "val", "test") if (root / name).is_dir()})


def first_pair(folder: Path) -> Path | None:
    """The first annotation of a folder that has its picture beside it."""
    visible = [path for path in folder.iterdir() if path.name[0] != "."]
    stems = {path.stem for path in visible if path.suffix.lower() in IMAGE_SUFFIXES}
    return min((path for path in visible if path.suffix.lower() == ".json" and path.stem in stems), default=None)


def is_labelme(path: Path) -> bool:
    """Whether an annotation was written by labelme and says nothing that ReasonSeg would."""
    try:
        content = read_json(path)
    except DataError:
        return False
    return isinstance(content, dict) and "imagePath" in content and "text" not in content


def _head(path: Path) -> bytes:
    """The first kilobytes of a file."""
    with path.open("rb") as file:
        return file.read(4096)
