"""Segmentation datasets: sentences about images, with masks. Nothing here imports torch."""

from __future__ import annotations

from pathlib import Path

from lisa_core.data.base import Example, OnError, Phrasings, Sample, SegmentationDataset
from lisa_core.data.opening import reader_class
from lisa_core.data.picture_file import load_image
from lisa_core.data.reasonseg import ReasonSeg
from lisa_core.data.same_picture import group_by_image
from lisa_core.formats import HF_PREFIX
from lisa_core.types import IGNORE
from lisa_core.user_path import user_path

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
    root: str | Path,
    split: str,
    phrasings: Phrasings = "all",
    *,
    on_error: OnError = "fail",
    format: str = "auto",
) -> SegmentationDataset:
    """Open one split of the dataset folder `root`, or of the Hugging Face dataset `hf:ORG/NAME`.

    `phrasings="all"` gives every sentence of an annotation, `"first"` one per annotation. `on_error="skip"` leaves out
    annotations that cannot be used and lists them in the dataset's `skipped`. `format` names the reader; `"auto"` asks
    each of them whether the folder has its layout.

    Raises:
        DataError: when the data is missing, empty, malformed, or of no known format.
        PluginError: when `format` is not the name of a format, or its plugin is broken.
    """
    looked_at = root
    if not str(root).startswith(HF_PREFIX):
        root = user_path(root)
        looked_at = root / Path(split).parent  # a split in a folder below has its layout there
    return reader_class(looked_at, format)(root, split, phrasings, on_error=on_error)
