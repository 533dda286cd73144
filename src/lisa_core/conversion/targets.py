"""What is converted: a target of a picture, with all its phrasings and its mask."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lisa_core.data import Example, Sample, SegmentationDataset
from lisa_core.data.reader import OnError
from lisa_core.errors import DataError
from lisa_core.inspection.pictures import ByPicture


@dataclass
class Target:
    """One target: what it is called, and where it is."""

    samples: list[Sample]
    """Its phrasings, the usual one first; at least one."""
    image: Image.Image
    """The decoded picture, RGB."""
    mask: np.ndarray
    """uint8 [H,W]: 0, 1 and 255 (not counted)."""

    @property
    def first(self) -> Sample:
        """The phrasing that evaluation takes."""
        return self.samples[0]

    @property
    def texts(self) -> list[str]:
        """All phrasings, each once."""
        return list(dict.fromkeys(sample.text for sample in self.samples))

    @property
    def inside(self) -> np.ndarray:
        """Bool [H,W]: the target."""
        inside: np.ndarray = self.mask == 1
        return inside

    @property
    def ignored(self) -> np.ndarray:
        """Bool [H,W]: pixels that are not counted."""
        ignored: np.ndarray = self.mask == 255
        return ignored

    def takes(self, example: Example) -> bool:
        """Whether a sample is a phrasing of this target."""
        sample, first = example.sample, self.first
        same = (sample.image_path, sample.answer, sample.no_target) == (first.image_path, first.answer, first.no_target)
        return same and np.array_equal(example.mask, self.mask)


def targets_of(
    dataset: SegmentationDataset, firsts: set[str], on_error: OnError, skipped: list[tuple[Path, str]]
) -> Iterator[Target]:
    """The targets of a split that was opened with all phrasings.

    Args:
        dataset: the split.
        firsts: ids of the samples it has with the first phrasings alone: each of them begins another target.
        on_error: a sample that cannot be used raises `DataError`, or goes to `skipped`.
        skipped: files and lines.
    """
    target: Target | None = None
    for index, sample in enumerate(dataset.samples):
        try:
            example = _load(dataset, index, target)
        except DataError as error:
            if on_error == "fail":
                raise
            skipped.append((sample.annotation_path, str(error)))
            continue
        if target is not None and sample.id not in firsts and target.takes(example):
            target.samples.append(example.sample)
            continue
        if target is not None:
            yield target
        target = Target([example.sample], example.image, example.mask)
    if target is not None:
        yield target


def _load(dataset: SegmentationDataset, index: int, before: Target | None) -> Example:
    """A sample; its picture is decoded anew only if that of the target before is another one."""
    if not isinstance(dataset, ByPicture):
        return dataset.load(index)
    is_same = before is not None and before.first.image_path == dataset.samples[index].image_path
    return dataset.painted(index, before.image if is_same and before is not None else dataset.picture(index))
