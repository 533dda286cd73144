"""Every broken sample of a dataset: annotations read, pictures decoded, masks painted, ids and splits compared."""

from __future__ import annotations

import filecmp
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lisa_core.data import SegmentationDataset
from lisa_core.data.files import split_names
from lisa_core.data.plain_pickle import read_plain_pickle
from lisa_core.errors import DataError
from lisa_core.formats import AUTO
from lisa_core.inspection.faults import Fault, Faults, count_kinds
from lisa_core.inspection.opened import Dataset, Opened
from lisa_core.inspection.pictures import Looked, by_picture, look_at_all

Progress = Callable[[str, int, int], None]
"""Told the split, how many of its samples are done, and how many there are."""

_PICKLES = (".p", ".pkl", ".pickle")


@dataclass
class CheckResult:
    """What `check_dataset` found."""

    data: str
    """The folder, as it was given."""
    format: str
    """Its format."""
    splits: dict[str, dict[str, int]] = field(default_factory=dict)
    """`samples` and `pictures` of each split that was read."""
    faults: list[Fault] = field(default_factory=list)
    """By kind; empty for a dataset that is as it should be."""

    @property
    def counts(self) -> dict[str, int]:
        """Faults of each kind."""
        return count_kinds(self.faults)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "data": self.data,
            "format": self.format,
            "splits": self.splits,
            "counts": self.counts,
            "faults": [fault.to_dict() for fault in self.faults],
        }


def check_dataset(
    root: str | Path,
    format: str = AUTO,
    splits: Sequence[str] | None = None,
    *,
    workers: int = 0,
    ignore: Sequence[str] = (),
    progress: Progress | None = None,
) -> CheckResult:
    """Look at every sample of every split. Memory grows by some hundred bytes a sample, whatever the pictures' sizes.

    Args:
        root: folder of the dataset, or `hf:ORG/NAME`.
        format: as of `open_dataset`.
        splits: those to check; None: all that are there.
        workers: processes that decode; fewer than 2: this one does.
        ignore: kinds of fault that are not reported.
        progress: is told how far it got.

    Raises:
        DataError: when there is no such folder, its format cannot be told, or a split asked for is not there.
        PluginError: as `open_dataset`.
    """
    dataset = Dataset(root, format, splits)
    result, faults = CheckResult(str(root), dataset.format), Faults()
    for path, kind, line in dataset.errors:
        faults.add(kind, "", path, line)
    leaks = _Leaks(faults)
    is_hashed = len({_role(split) for split in dataset.splits}) > 1
    for opened in dataset.open():
        result.splits[opened.split] = _check_split(opened, faults, leaks, is_hashed, workers, progress)
        del opened  # before the next split is read: one at a time is held
    if Path(dataset.root).is_dir():
        _check_pickles(Path(dataset.root), faults)
    result.faults = [fault for fault in faults.sorted() if fault.kind not in ignore]
    return result


def _check_split(
    opened: Opened, faults: Faults, leaks: _Leaks, is_hashed: bool, workers: int, progress: Progress | None
) -> dict[str, int]:
    """Samples and pictures of one split."""
    split, dataset = opened.split, opened.dataset
    for path, kind, line in opened.errors:
        faults.add(kind, split, path, line)
    if dataset is None:
        return {"samples": 0, "pictures": 0}
    _check_ids(dataset, split, faults)
    groups = by_picture(dataset)
    done, total = 0, len(dataset)
    for looked in look_at_all(dataset, groups, is_hashed, workers):
        for index, kind, line in looked.faults:
            sample = dataset.samples[index]
            faults.add(kind, split, sample.annotation_path, line, sample.id)
        leaks.add(dataset, split, looked)
        done += len(looked.indices)
        if progress is not None:
            progress(split, done, total)
    return {"samples": total, "pictures": len(groups)}


def _check_ids(dataset: SegmentationDataset, split: str, faults: Faults) -> None:
    seen: set[str] = set()
    for sample in dataset.samples:
        if sample.id in seen:
            line = f"{sample.annotation_path}: several samples have the id {sample.id!r}: give each its own."
            faults.add("duplicate-id", split, sample.annotation_path, line, sample.id)
        seen.add(sample.id)


class _Leaks:
    """Pictures of the splits by their pixels; a copy of a picture, a renamed one or one saved anew is the same."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._last: dict[bytes, int] = {}
        self._paths: list[Path] = []
        self._equals = array("q")  # of each picture the number of the last one before it with the same pixels, or -1
        self._split_numbers = array("H")
        self._splits: list[str] = []
        self._reported: set[int] = set()

    def add(self, dataset: SegmentationDataset, split: str, looked: Looked) -> None:
        """Note a picture; report it if one of another split is the same."""
        if looked.digest is None:
            return
        if split not in self._splits:
            self._splits.append(split)
        own, before = len(self._paths), self._last.get(looked.digest, -1)
        self._last[looked.digest] = own
        self._paths.append(dataset.samples[looked.indices[0]].image_path)
        self._equals.append(before)
        self._split_numbers.append(self._splits.index(split))
        others = []
        while before >= 0:
            if _role(self._splits[self._split_numbers[before]]) != _role(split):
                others.append(before)
            before = self._equals[before]
        # Every picture in question is named, and not every pair of them: there may be many copies on both sides.
        fresh = [other for other in reversed(others) if other not in self._reported] or others[-1:]
        for other in fresh:
            line = self._line(own, other)
            for index in looked.indices:
                self._faults.add("leak", split, self._paths[own], line, dataset.samples[index].id)
            self._reported |= {own, other}

    def _line(self, own: int, other: int) -> str:
        (path, split), (before, first) = (
            (self._paths[number], self._splits[self._split_numbers[number]]) for number in (own, other)
        )
        if path == before:
            return f"{path} is in {first} and in {split}: keep it in one of them."
        same = "is a copy of" if _are_equal(before, path) else "has the same pixels as"
        return f"{path} ({split}) {same} {before} ({first}): keep it in one of the splits."


def _role(split: str) -> str:
    """What a split is for: parts of a test set (testA, testB) may share pictures, and so may a split's other names."""
    name = Path(split).name
    return "test" if name.startswith("test") else min(split_names(name))


def _are_equal(first: Path, second: Path) -> bool:
    try:
        return filecmp.cmp(first, second, shallow=False)
    except OSError:  # rows of a table are no files
        return False


def _check_pickles(root: Path, faults: Faults) -> None:
    """Pickles beside the annotations that the reader did not ask for: whoever opens them runs what is in them."""
    for path in sorted(root.iterdir()):
        if path.suffix.lower() in _PICKLES and path.is_file():
            try:
                read_plain_pickle(path)
            except DataError as error:
                faults.add(error.kind, "", path, str(error))
