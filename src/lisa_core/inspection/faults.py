"""What can be wrong with a dataset, and the list of what is."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KINDS = {
    "missing-file": "a picture, mask or annotation that is not there",
    "corrupt-image": "a picture or mask that cannot be decoded, or claims too many pixels",
    "polygon": "a polygon or box that cannot be painted",
    "rle": "run lengths that do not fill their picture",
    "mask-size": "an outline made for a picture of another size",
    "empty-mask": "an outline without a pixel, where a target is said to be",
    "text": "an empty or broken sentence",
    "duplicate-id": "an id given twice",
    "leak": "the same picture in two splits",
    "outside-path": "a path that leads out of the folder",
    "pickle": "a pickle with a program in it, or damaged",
    "json": "text that is no JSON",
    "annotation": "an annotation that says something it cannot mean",
    "reader": "a reader that failed: a bug of the format's reader",
}
"""Every kind of fault by its name, with what it means."""


@dataclass
class Fault:
    """One thing to be mended."""

    kind: str
    """One of `KINDS`."""
    split: str
    """The split it was found in first; empty where it belongs to none."""
    path: str
    """The file to look at."""
    message: str
    """What is wrong and what to do, one line."""
    samples: list[str] = field(default_factory=list)
    """Ids of the samples that cannot be used as they are; none where the annotation gave none."""

    def to_dict(self) -> dict[str, Any]:
        """As it stands in the JSON."""
        return {
            "kind": self.kind,
            "split": self.split,
            "path": self.path,
            "message": self.message,
            "samples": self.samples,
        }


class Faults:
    """Collects faults; what is said twice in the same words is one fault, of several samples perhaps."""

    def __init__(self) -> None:
        self._by_message: dict[str, Fault] = {}

    def add(self, kind: str, split: str, path: Path | str, message: str, sample: str | None = None) -> None:
        """Note a fault, and the id of a sample it makes unusable."""
        line = " ".join(message.split())
        fault = self._by_message.setdefault(
            line, Fault(kind if kind in KINDS else "annotation", split, str(path), line)
        )
        if sample is not None:
            fault.samples.append(sample)

    def sorted(self) -> list[Fault]:
        """All of them by kind, and within a kind as they were found."""
        order = {kind: number for number, kind in enumerate(KINDS)}
        return sorted(self._by_message.values(), key=lambda fault: order[fault.kind])


def count_kinds(faults: list[Fault]) -> dict[str, int]:
    """How many faults of each kind there are, in the order of `KINDS`, without those that are not there."""
    counts = Counter(fault.kind for fault in faults)
    return {kind: counts[kind] for kind in KINDS if counts[kind]}
