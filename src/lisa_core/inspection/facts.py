"""What a dataset holds, in figures: samples, pictures and their sizes, words, and how large the masks are."""

from __future__ import annotations

import random
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lisa_core.data import IGNORE, Example, SegmentationDataset
from lisa_core.data.picture_file import opened as opened_image
from lisa_core.errors import DataError
from lisa_core.formats import AUTO
from lisa_core.inspection.opened import Dataset
from lisa_core.inspection.pictures import ByPicture, by_picture

Progress = Callable[[str, int, int], None]
"""Told the split, how many of its samples are done, and how many there are."""

QUANTILES = {"least": 0.0, "5%": 0.05, "median": 0.5, "95%": 0.95, "most": 1.0}
"""The columns of a distribution: the share of values below each."""


@dataclass
class SplitFacts:
    """One split's figures; distributions are kept as bare numbers, 4 bytes each."""

    samples: int = 0
    """Sentences with their masks."""
    pictures: int = 0
    """Pictures they are about."""
    sentences: int = 0
    """Samples whose text is a full sentence or question."""
    answers: int = 0
    """Samples with an answer in words."""
    without_target: int = 0
    """Samples that say that there is nothing to be found."""
    broken: int = 0
    """Annotations and samples that cannot be used."""
    measured: int = 0
    """Samples whose mask was painted."""
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    """Pictures of each width and height."""
    words: array[int] = field(default_factory=lambda: array("I"))
    """Words of each text."""
    per_picture: array[int] = field(default_factory=lambda: array("I"))
    """Samples of each picture."""
    shares: array[float] = field(default_factory=lambda: array("f"))
    """Share of the picture that each target covers, those without one left out."""
    ignored: int = 0
    """Samples with pixels that are not counted."""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON, with distributions as quantiles."""
        sides = [(size, count) for size, count in self.sizes.items()]
        longest = np.repeat([max(size) for size, _ in sides], [count for _, count in sides])
        return {
            "samples": self.samples,
            "pictures": self.pictures,
            "full_sentences": self.sentences,
            "answers": self.answers,
            "without_target": self.without_target,
            "with_ignored_pixels": self.ignored,
            "broken": self.broken,
            "measured": self.measured,
            "words": quantiles(self.words),
            "samples_per_picture": quantiles(self.per_picture),
            "longest_side": quantiles(longest),
            "mask_share": quantiles(self.shares),
            "sizes": [{"width": w, "height": h, "pictures": n} for (w, h), n in self.sizes.most_common(5)],
            "different_sizes": len(self.sizes),
        }


@dataclass
class DatasetFacts:
    """What `describe_dataset` found."""

    data: str
    """The folder, as it was given."""
    format: str
    """Its format."""
    splits: dict[str, SplitFacts] = field(default_factory=dict)
    """Figures by split."""

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "data": self.data,
            "format": self.format,
            "splits": {name: facts.to_dict() for name, facts in self.splits.items()},
        }


def describe_dataset(
    root: str | Path,
    format: str = AUTO,
    splits: Sequence[str] | None = None,
    *,
    max_pictures: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> DatasetFacts:
    """Count, and measure masks; of pictures only the headers are read where masks need no more.

    Args:
        root: folder of the dataset, or `hf:ORG/NAME`.
        format: as of `open_dataset`.
        splits: those to describe; None: all that are there.
        max_pictures: measure sizes and masks on so many pictures of a split, drawn at random; None: on all.
        seed: of the draw.
        progress: is told how far it got.

    Raises:
        DataError: as `check_dataset`.
        PluginError: as `open_dataset`.
    """
    dataset = Dataset(root, format, splits)
    if dataset.errors:  # nothing can be said about what cannot be read
        raise DataError(dataset.errors[0][2])
    result = DatasetFacts(str(root), dataset.format)
    for opened in dataset.open():
        facts = SplitFacts(broken=len(opened.errors))
        if opened.dataset is not None:
            _describe(opened.dataset, facts, opened.split, max_pictures, seed, progress)
        result.splits[opened.split] = facts
    return result


def quantiles(values: Sequence[float] | np.ndarray) -> dict[str, float] | None:
    """The `QUANTILES` of some numbers with their mean; None without any."""
    if not len(values):
        return None
    numbers = np.asarray(values, dtype=np.float64)
    found = np.quantile(numbers, list(QUANTILES.values()))
    return {**{name: round(float(value), 6) for name, value in zip(QUANTILES, found)}, "mean": round(numbers.mean(), 6)}


def _describe(
    dataset: SegmentationDataset,
    facts: SplitFacts,
    split: str,
    max_pictures: int | None,
    seed: int,
    progress: Progress | None,
) -> None:
    groups = by_picture(dataset)
    facts.samples, facts.pictures = len(dataset), len(groups)
    facts.per_picture.extend(len(group) for group in groups)
    for sample in dataset.samples:
        facts.sentences += sample.is_sentence
        facts.answers += sample.answer is not None
        facts.without_target += sample.no_target
        if sample.text:  # others get theirs when they are loaded
            facts.words.append(len(sample.text.split()))
    if max_pictures is not None and max_pictures < len(groups):
        groups = [groups[k] for k in sorted(random.Random(seed).sample(range(len(groups)), max_pictures))]
    done, total = 0, sum(len(group) for group in groups)
    for group in groups:
        is_sized = False
        for index in group:
            try:
                example = _example(dataset, index)
            except DataError:
                facts.broken += 1
                continue
            if not is_sized:
                facts.sizes[example.image.size] += 1
                is_sized = True
            _measure(example, facts, had_text=bool(dataset.samples[index].text))
        done += len(group)
        if progress is not None:
            progress(split, done, total)


def _example(dataset: SegmentationDataset, index: int) -> Example:
    """A sample with a blank in place of its picture where the picture is a file of its own."""
    sample = dataset.samples[index]
    if not isinstance(dataset, ByPicture) or sample.image_path == sample.annotation_path:
        return dataset.load(index)
    with opened_image(sample.image_path) as image:
        blank = Image.new("1", image.size)
    return dataset.painted(index, blank)


def _measure(example: Example, facts: SplitFacts, had_text: bool) -> None:
    facts.measured += 1
    facts.ignored += bool((example.mask == IGNORE).any())
    if not had_text:
        facts.words.append(len(example.sample.text.split()))
    if not example.sample.no_target:
        facts.shares.append(float((example.mask == 1).mean()))
