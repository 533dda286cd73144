"""Segmentation datasets: sentences about images, with masks. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path

from lisa_core.data.base import (
    Example,
    Sample,
    SegmentationDataset,
    group_by_image,
    load_image,
)
from lisa_core.data.reasonseg import OnError, Phrasings, ReasonSeg
from lisa_core.types import IGNORE

__all__ = [
    "IGNORE",
    "Example",
    "OnError",
    "Phrasings",
    "ReasonSeg",
    "Sample",
    "SegmentationDataset",
    "group_by_image",
    "load_image",
    "open_dataset",
]


def open_dataset(
    root: str | Path, split: str, phrasings: Phrasings = "all", *, on_error: OnError = "fail"
) -> SegmentationDataset:
    """Open one split of the dataset folder `root`; raises `DataError` when it is missing, empty or malformed.

    `phrasings="all"` gives every sentence of an annotation, `"first"` one per annotation. `on_error="skip"` leaves out
    annotations that cannot be used and lists them in the dataset's `skipped`.
    """
    return ReasonSeg(Path(root), split, phrasings, on_error=on_error)
