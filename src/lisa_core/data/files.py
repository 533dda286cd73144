"""Reading what a dataset's files say: text of several encodings, JSON, paths that stay inside, splits by any name."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import posixpath
import unicodedata
from collections.abc import Iterable, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np

from lisa_core.errors import DataError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")

_MOST = 1e300
"""What numbers must stay below."""

_SPLIT_NAMES = (("train", "training"), ("val", "validation", "valid"), ("test", "testing"))


def read_text(path: Path) -> str:
    """A text file, UTF-8 first (with or without a byte order mark), then cp1252; raises `DataError`."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path} is neither UTF-8 nor cp1252 text: save it as UTF-8.")


def unreadable(path: Path, error: OSError) -> DataError:
    """What to raise for a file that is not there or not open to us."""
    return DataError(f"{path} cannot be read: {error.strerror or error}; restore the file.", "missing-file")


def read_json(path: Path) -> Any:
    """Parse a JSON file; raises `DataError` that names it."""
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str) -> Any:
    """Parse JSON text; raises `DataError` that begins with `where`, also when it is nested too deeply."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is not valid JSON ({error}): mend or remove it.", "json") from error


def parse_sentence(value: object, path: Path | str, what: str) -> str:
    """A sentence without surrounding blanks; raises `DataError` that names `path` when there is none."""
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"{path}: {what} must be a sentence, not {short(value)}: write what to segment.", "text")
    try:
        value.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair, which JSON can spell and no tokenizer takes
        message = f"{path}: {what} holds a broken character ({error.reason}): write it again."
        raise DataError(message, "text") from error
    return value.strip()


def is_question(text: str) -> bool:
    """Whether a text reads as a full sentence, for formats that do not say: it ends like one."""
    return text.rstrip().endswith(("?", ".", "!"))


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number that fits a float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _MOST


def finite_numbers(values: list[Any]) -> np.ndarray | None:
    """JSON values as float64 [N], or None unless each of them `is_number`.

    Outlines are long and read in every epoch, so what they usually hold is checked all at once.
    """
    if set(map(type, values)) <= {int, float}:
        try:
            array = np.array(values, dtype=np.float64)
        except OverflowError:  # a whole number that no float can hold
            return None
        if (np.abs(array) < _MOST).all():
            return array
    return np.array(values, dtype=np.float64) if all(map(is_number, values)) else None


def parse_points(points: list[Any], where: str) -> np.ndarray:
    """JSON points as float64 [P,2]; raises `DataError` that begins with `where` unless each is [x, y]."""
    for point in points:
        if not isinstance(point, list) or len(point) != 2:
            raise _not_a_point(point, where)
    values = finite_numbers(list(itertools.chain.from_iterable(points)))
    if values is None:
        raise _not_a_point(next(point for point in points if not all(map(is_number, point))), where)
    return values.reshape(-1, 2)


def _not_a_point(point: object, where: str) -> DataError:
    message = f"{where} has the point {short(point)}: points are [x, y] in pixels, finite numbers."
    return DataError(message, "polygon")


def short(value: object) -> str:
    """A value for an error message, on one line and cut at 60 characters."""
    try:
        text = json.dumps(value, default=repr)
    except (RecursionError, ValueError):  # nested as deeply as could just be read; a list that holds itself
        text = f"a {type(value).__name__} nested too deeply"
    return text if len(text) <= 60 else text[:57] + "..."


def inner_path(name: object, file: Path, what: str, root: Path) -> str:
    """A file name that a dataset gives, with forward slashes and normalised.

    Raises `DataError` that names `file` when it is no name, or leads out of `root`. Links are followed, as users put
    large folders elsewhere that way.
    """
    if not isinstance(name, str) or not name.strip() or "\0" in name:
        raise DataError(f"{file}: {what} must be a file name, not {short(name)}.")
    normal = posixpath.normpath(name.replace("\\", "/"))
    if normal.startswith(("/", "../")) or normal in (".", "..") or PureWindowsPath(name).drive:
        message = f"{file}: {what} points outside of the dataset ({name!r}): use a path below {root}."
        raise DataError(message, "outside-path")
    return normal


class Pictures:
    """Finds pictures by the names a dataset gives, in the folders where it is known to keep them.

    Every folder is listed once. A name that differs only in how its accents are composed, as archives made on macOS
    have them, is found too.
    """

    def __init__(self, root: Path, folders: Iterable[Path]) -> None:
        self.root = root
        self.folders = list(dict.fromkeys(folders))
        self._listed: dict[Path, dict[str, str]] = {}

    def find(self, name: object, file: Path, what: str) -> Path:
        """The picture called `name` in `file`; raises `DataError` when it leads outside or is nowhere."""
        inner = inner_path(name, file, what, self.root)
        below, _, base = inner.rpartition("/")
        for folder in self.folders:
            found = self._names(folder / below).get(unicodedata.normalize("NFC", base))
            if found is not None:
                return folder / below / found
        places = ", ".join(str(folder) for folder in self.folders)
        raise DataError(
            f"{file}: {what} names {inner!r}, which is in none of {places}: put the pictures in one of them.",
            "missing-file",
        )

    def _names(self, folder: Path) -> dict[str, str]:
        if folder not in self._listed:
            try:
                names = os.listdir(folder)
            except OSError:
                names = []
            self._listed[folder] = {unicodedata.normalize("NFC", name): name for name in names}
        return self._listed[folder]


def split_names(split: str) -> tuple[str, ...]:
    """What a split may be called in a published layout, its own name first: val, validation, valid."""
    for names in _SPLIT_NAMES:
        if split in names:
            return (split, *(name for name in names if name != split))
    return (split,)


def usual_first(splits: Iterable[str]) -> list[str]:
    """Names of splits, each once: train, val and test before those of a set's own."""
    order = [name for names in _SPLIT_NAMES for name in names]
    names = sorted(set(splits))
    return [*(name for name in order if name in names), *(name for name in names if name not in order)]


def first_existing(paths: Iterable[Path]) -> Path | None:
    """The first of the paths that exists."""
    return next((path for path in paths if path.exists()), None)


def held_out(keys: Sequence[str]) -> set[str]:
    """A tenth of the keys, at least one of two, for sets that come without a val split; the same on every machine."""
    ranked = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest())
    return set(ranked[: max(len(ranked) // 10, 1)] if len(ranked) > 1 else [])


def begins_with(path: Path, character: str) -> bool:
    """Whether a text file's first visible character is this one; a cheap look at what a large JSON file holds."""
    try:
        with path.open("rb") as file:
            return file.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(character.encode())
    except OSError:
        return False
