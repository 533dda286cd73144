"""Several datasets as one: their samples one after the other, each of which knows which dataset it is of."""

from __future__ import annotations

import dataclasses
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate

from PIL import Image

from lisa_core.data.base import Example, Sample, SegmentationDataset
from lisa_core.data.rates import Rates
from lisa_core.data.same_picture import group_by_image
from lisa_core.errors import DataError


class Mixture(SegmentationDataset):
    """Samples of several datasets, in the order of these; ids are `NAME:ID`, so that they stay unique.

    Args:
        parts: datasets by name.
        limit: only the first so many samples of each.
    """

    def __init__(self, parts: dict[str, SegmentationDataset], limit: int | None = None) -> None:
        self.names = list(parts)
        self.parts = list(parts.values())
        sizes = [len(part.samples[:limit]) for part in self.parts]
        self.starts = list(accumulate(sizes, initial=0))
        self.samples = [
            _of(sample, name)
            for name, part, size in zip(self.names, self.parts, sizes)
            for sample in part.samples[:size]
        ]
        self.skipped = [line for part in self.parts for line in part.skipped]

    def load(self, index: int) -> Example:
        """See `SegmentationDataset`."""
        part, place = self._at(index)
        return self._named(part, self.parts[part].load(place))

    def load_beside(self, index: int, image: Image.Image) -> Example:
        """See `SegmentationDataset`."""
        part, place = self._at(index)
        return self._named(part, self.parts[part].load_beside(place, image))

    def _at(self, index: int) -> tuple[int, int]:
        """Which part a sample is of, and where it stands there."""
        if not 0 <= index < len(self.samples):
            raise IndexError(index)
        number = bisect_right(self.starts, index) - 1
        return number, index - self.starts[number]

    def _named(self, number: int, example: Example) -> Example:
        # A reader may tell the text only when it decodes, so the sample is its own, not the one listed.
        example.sample = _of(example.sample, self.names[number])
        return example

    def by_dataset(self) -> tuple[list[list[int]], list[list[int]]]:
        """Sample indices by picture, and for each dataset the numbers of its pictures."""
        groups: list[list[int]] = []
        numbers: list[list[int]] = []
        for start, stop in zip(self.starts, self.starts[1:]):
            own = [[start + index for index in group] for group in group_by_image(self.samples[start:stop])]
            numbers.append(list(range(len(groups), len(groups) + len(own))))
            groups += own
        return groups, numbers


def first_samples(dataset: SegmentationDataset, count: int | None) -> Sequence[Sample]:
    """The first so many samples; a `Mixture` was cut when it was made, each of its parts by itself."""
    return dataset.samples if isinstance(dataset, Mixture) else dataset.samples[:count]


def open_parts(
    openers: dict[str, Callable[[], SegmentationDataset]], absent: type[DataError] | None = None
) -> tuple[dict[str, SegmentationDataset], dict[str, str]]:
    """The datasets that can be opened, and of the others why not.

    Args:
        openers: open a dataset, by name.
        absent: the error that leaves a dataset out, as long as another can be opened; any other error is raised.
    """
    found: dict[str, SegmentationDataset] = {}
    reasons: dict[str, str] = {}
    first: DataError | None = None
    for name, opener in openers.items():
        try:
            found[name] = opener()
        except DataError as error:
            if absent is None or not isinstance(error, absent):
                raise
            first = first or error
            reasons[name] = str(error)
    if not found and first is not None:
        raise first
    return found, reasons


def mixed(dataset: Mixture, rates: Sequence[float], draws: int | None) -> tuple[list[list[int]], Rates]:
    """Sample indices by picture, and what decides how an epoch of so many draws is made of them (None: all samples)."""
    groups, numbers = dataset.by_dataset()
    return groups, Rates(groups, numbers, rates, draws or len(dataset.samples))


def _of(sample: Sample, name: str) -> Sample:
    return dataclasses.replace(sample, id=f"{name}:{sample.id}", dataset=name)
