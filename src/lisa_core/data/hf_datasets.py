"""Hugging Face datasets: from the hub, a folder of parquet files, or one that `save_to_disk` wrote."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np

from lisa_core.data.base import (
    Example,
    NoSampleError,
    NoSplitError,
    OnError,
    Phrasings,
    Reason,
    Sample,
    SegmentationDataset,
)
from lisa_core.data.files import is_question, parse_sentence, short, split_names
from lisa_core.data.masks import decode_rle, paint_segmentation
from lisa_core.data.picture_file import opened
from lisa_core.discovery import one_line
from lisa_core.errors import DataError
from lisa_core.formats import HF_PREFIX
from lisa_core.user_path import user_path

ROLES = ("image", "text", "mask", "answer", "is_sentence", "image_id")
"""What a column can be; each is looked for under its own name unless a mapping says otherwise."""
_SOURCES = ("config", "revision")


class HFDatasets(SegmentationDataset):
    """One split of a Hugging Face dataset with columns `image`, `text` and `mask`, as ReasonSeg has them there.

    `hf:ORG/NAME?text=caption&mask=segmentation` maps columns; `config=` and `revision=` choose what is loaded. `mask`
    may hold a picture, rows of numbers or booleans, or COCO's run lengths or polygons; `text` a text or a list of them.
    """

    name = "hf"

    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        phrasings: Phrasings = "all",
        *,
        on_error: OnError = "fail",
    ) -> None:
        self.source, mapping = _parse(str(root))
        self.split = split
        self.samples = []
        self.skipped = []
        self._rows: list[int] = []
        self._table, columns = _load(self.source, split, mapping)
        self._columns = _columns(columns, mapping, self.source)
        where = Path(f"{self.source}[{split}]")
        cheap = [self._columns[role] for role in ROLES if role in self._columns and role not in ("image", "mask")]
        for number, row in enumerate(self._table.select_columns(cheap)):
            values = {role: row[column] for role, column in self._columns.items() if column in row}
            try:
                self._add(number, values, where, phrasings)
            except DataError as error:
                if on_error == "fail":
                    raise
                self.skipped.append((where, Reason.of(error)))
        if not self.samples:
            hint = f" ({self.skipped[0][1]})" if self.skipped else ""
            message = f"{self.source} has no usable row in split '{split}'{hint}: correct the column mapping."
            raise NoSampleError(message, self.skipped)

    @classmethod
    def looks_like(cls, root: Path) -> bool:
        """Whether the folder was saved by `save_to_disk`, or holds parquet files."""
        if any((root / name).is_file() for name in ("dataset_dict.json", "state.json")):
            return True
        return any(root.glob("*.parquet")) or any(root.glob("*/*.parquet"))

    def load(self, index: int) -> Example:
        """Decode sample `index`; raises `DataError` that names the row that cannot be used."""
        sample = self.samples[index]
        row = self._table[self._rows[index]]
        where = f"{sample.annotation_path}, row {self._rows[index]}"
        data = row[self._columns["image"]]
        folder = user_path(self.source)
        with opened(Path(where), _picture_bytes(data, f"{where}: `{self._columns['image']}`", folder)) as image:
            picture = image.convert("RGB")
        value = row[self._columns["mask"]]
        mask = _mask(value, picture.height, picture.width, f"{where}: `{self._columns['mask']}`", folder)
        return Example(sample, picture, mask)

    def _add(self, number: int, values: dict[str, Any], where: Path, phrasings: Phrasings) -> None:
        """The samples of one row."""
        texts = values["text"] if isinstance(values["text"], list) else [values["text"]]
        if not texts:
            raise DataError(f"{where}, row {number} has no text: write at least one sentence.", "text")
        answer = values.get("answer")
        texts = [parse_sentence(text, f"{where}, row {number}", f"`{self._columns['text']}`") for text in texts]
        # a name and no file: what one picture is asked stands together if the set says which one it is
        picture = Path(f"{where}/{values.get('image_id', f'row {number}')}")
        for count, text in enumerate(texts if phrasings == "all" else texts[:1]):
            is_sentence = bool(values.get("is_sentence", is_question(text)))
            words = answer.strip() if isinstance(answer, str) and answer.strip() else None
            self.samples.append(Sample(f"{number}#{count}", picture, where, text, is_sentence, words, self.name))
            self._rows.append(number)


def _parse(root: str) -> tuple[str, dict[str, str]]:
    """The source and the mapping of `hf:SOURCE?ROLE=COLUMN&...`; raises `DataError` for an unknown role."""
    source, _, query = root.removeprefix(HF_PREFIX).partition("?") if root.startswith(HF_PREFIX) else (root, "", "")
    mapping = dict(parse_qsl(query, keep_blank_values=True))
    for role in mapping:
        if role not in (*ROLES, *_SOURCES):
            near = difflib.get_close_matches(role, (*ROLES, *_SOURCES), n=1)
            guess = f"did you mean {near[0]}?" if near else f"use {', '.join((*ROLES, *_SOURCES))}."
            raise DataError(f"{root} maps {role!r}, which is no role of a column: {guess}")
    if not source:
        raise DataError(f"{root} names no dataset: write hf:ORG/NAME, or hf: and a folder.")
    return source, mapping


def _load(source: str, split: str, mapping: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """The split's table, with pictures left as bytes, and its features; raises `DataError`."""
    try:
        import datasets
    except ImportError as error:
        raise DataError("Hugging Face datasets need `pip install 'lisa-core[datasets]'`.") from error
    folder = user_path(source)
    try:
        if folder.is_dir() and any((folder / name).is_file() for name in ("dataset_dict.json", "state.json")):
            loaded = datasets.load_from_disk(str(folder))
        else:
            loaded = datasets.load_dataset(
                str(folder) if folder.is_dir() else source, mapping.get("config"), revision=mapping.get("revision")
            )
    # The library raises its own errors, the hub's, pyarrow's and the file system's.
    except Exception as error:
        raise DataError(
            f"{source} cannot be loaded as a Hugging Face dataset ({one_line(error)}): check it."
        ) from error
    if isinstance(loaded, datasets.DatasetDict):
        name = next((name for name in split_names(split) if name in loaded), None)
        if name is None:
            raise NoSplitError(f"{source} has no split '{split}': it has {', '.join(loaded)}.")
        loaded = loaded[name]
    elif split != "train":
        raise NoSplitError(f"{source} has no split '{split}': it was saved without splits, so it is train.")
    for name, feature in loaded.features.items():
        if isinstance(feature, datasets.Image):
            loaded = loaded.cast_column(name, datasets.Image(decode=False))
    return loaded, dict(loaded.features)


def _columns(features: dict[str, Any], mapping: dict[str, str], source: str) -> dict[str, str]:
    """The column of each role; raises `DataError` when one that is needed is not there."""
    columns = {}
    for role in ROLES:
        column = mapping.get(role, role)
        if column in features:
            columns[role] = column
        elif role in mapping or role in ("image", "text", "mask"):
            raise DataError(
                f"{source} has no column {column!r} for the {role}: it has {', '.join(features)}; "
                f"map one with hf:{source}?{role}=COLUMN."
            )
    return columns


def _picture_bytes(value: Any, where: str, folder: Path) -> bytes:
    """The bytes of a picture's file, as an undecoded column holds them.

    A column may name files instead. Only those in the dataset's own folder, or in the library's cache, are read.
    """
    if isinstance(value, dict) and value.get("bytes"):
        return value["bytes"]
    if isinstance(value, dict) and isinstance(value.get("path"), str):
        import datasets

        path = os.path.abspath(value["path"])
        places = (os.path.abspath(folder), os.path.abspath(datasets.config.HF_CACHE_HOME))
        if not any(path.startswith(place + os.sep) for place in places):
            message = f"{where} names a picture outside of the dataset ({path!r}): store the pictures in it."
            raise DataError(message, "outside-path")
        try:
            return Path(path).read_bytes()
        except OSError as error:
            message = f"{where} names a picture that cannot be read: {error.strerror or error}."
            raise DataError(message, "missing-file") from error
    if isinstance(value, bytes):
        return value
    raise DataError(f"{where} is no picture ({short(type(value).__name__)}): map the column that holds it.")


def _mask(value: Any, height: int, width: int, where: str, folder: Path) -> np.ndarray:
    """uint8 [H,W] of 0 and 1."""
    if isinstance(value, (bytes, dict)) and not (isinstance(value, dict) and "counts" in value):
        with opened(Path(where), _picture_bytes(value, where, folder)) as image:
            values = np.asarray(image if image.mode in ("1", "L", "P", "I") else image.convert("L"))
    elif isinstance(value, dict):
        return decode_rle(value, height, width, where).astype(np.uint8)
    elif isinstance(value, list) and _is_rows(value, height, width):
        if len({len(row) for row in value}) > 1:
            raise DataError(f"{where} has rows of different lengths: it is no mask.")
        values = np.asarray(value)
    else:
        return paint_segmentation(value, height, width, where).astype(np.uint8)
    if values.shape != (height, width):
        have = " x ".join(str(length) for length in values.shape[::-1])
        message = f"{where} is {have} pixels, its picture {width} x {height}: a mask needs the picture's size."
        raise DataError(message, "mask-size")
    return (values != 0).astype(np.uint8)


def _is_rows(value: list[Any], height: int, width: int) -> bool:
    """Whether a list of lists is a mask row by row; polygons have other lengths than the picture has columns."""
    if not value or not all(isinstance(row, list) and row for row in value):
        return False
    return isinstance(value[0][0], bool) or (len(value) == height and all(len(row) == width for row in value))
