"""The splits of a dataset one after the other, each opened without stopping at what is broken in it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from lisa_core.data import SegmentationDataset, open_dataset
from lisa_core.data.base import NoSampleError, NoSplitError
from lisa_core.data.opening import format_name, reader_class
from lisa_core.errors import DataError
from lisa_core.formats import AUTO, HF_PREFIX
from lisa_core.user_path import user_path

USUAL = ("train", "val", "test")


class Opened(NamedTuple):
    """One split."""

    split: str
    """Its name."""
    dataset: SegmentationDataset | None
    """Its samples; None when there is none."""
    errors: list[tuple[Path, str, str]]
    """File, kind and line of each annotation that was left out, and of each that is doubtful."""


class Dataset:
    """A dataset's folder (or `hf:ORG/NAME`) with its format and the names of its splits.

    Args:
        root: the folder.
        format: as of `open_dataset`.
        splits: those to open; None: all that there are.

    Raises:
        DataError: when there is no such folder, or its format cannot be told.
        PluginError: as `open_dataset`.
    """

    def __init__(self, root: str | Path, format: str = AUTO, splits: Sequence[str] | None = None) -> None:
        is_folder = not str(root).startswith(HF_PREFIX)
        self.root: str | Path = user_path(root) if is_folder else root
        if is_folder and not Path(self.root).is_dir():
            raise DataError(f"{self.root} is not a folder: give the folder that holds the dataset, or hf:ORG/NAME.")
        below = {Path(split).parent for split in splits or ()} - {Path()}  # a split in a folder below
        looked_at = Path(self.root) / below.pop() if is_folder and len(below) == 1 else self.root
        self.format = format_name(looked_at, format)
        self.reader = reader_class(looked_at, self.format)
        self.was_asked = splits is not None
        self.errors: list[tuple[Path, str, str]] = []
        self.splits = list(dict.fromkeys(splits)) if splits is not None else self._found(is_folder)

    def open(self) -> Iterator[Opened]:
        """Each split that is there; raises `DataError` for one that was asked for and is not, or if there is none."""
        is_any_there, absent = bool(self.errors), f"{self.root} has no split."
        for split in self.splits:
            dataset: SegmentationDataset | None = None
            errors: list[tuple[Path, str, str]] = []
            try:
                dataset = open_dataset(self.root, split, "all", on_error="skip", format=self.format)
                errors = _kinds([*dataset.skipped, *getattr(dataset, "doubts", [])])
            except NoSplitError as error:
                if self.was_asked:
                    raise
                absent = str(error)
                continue
            except NoSampleError as error:
                errors = _kinds(error.skipped) or [(Path(self.root), error.kind, str(error))]
            except DataError as error:
                errors = [(Path(self.root), error.kind, str(error))]
            is_any_there = True
            yield Opened(split, dataset, errors)
        if not is_any_there:
            raise DataError(absent)

    def _found(self, is_folder: bool) -> list[str]:
        """The splits that the reader finds in the folder; a file that keeps it from looking is a fault of the data."""
        if not is_folder or not hasattr(self.reader, "splits"):
            return list(USUAL)
        try:
            return list(self.reader.splits(Path(self.root)))
        except DataError as error:
            self.errors.append((Path(self.root), error.kind, str(error)))
            return list(USUAL)


def _kinds(reasons: list[tuple[Path, str]]) -> list[tuple[Path, str, str]]:
    """File, kind and line; the reader of a plugin may know no kinds."""
    return [(path, getattr(reason, "kind", "annotation"), str(reason)) for path, reason in reasons]
