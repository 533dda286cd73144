"""Samples of one picture: which they are, and how they are decoded with it read once."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from lisa_core.data.base import Example, Sample, SegmentationDataset
from lisa_core.errors import DataError


def load_together(
    dataset: SegmentationDataset, indices: Sequence[int], picture: Mapping[int, int]
) -> Iterator[Example | DataError]:
    """Decode samples, those of one picture with one and the same image; what cannot be decoded becomes its error.

    Args:
        dataset: the samples.
        indices: which of them, in the order they come in.
        picture: which picture each of them is of; what has none here is decoded by itself.
    """
    images: dict[int, Image.Image] = {}
    for index in indices:
        number = picture.get(index)
        image = None if number is None else images.get(number)
        try:
            example = dataset.load(index) if image is None else dataset.load_beside(index, image)
        except DataError as error:
            yield error
            continue
        if number is not None:
            images.setdefault(number, example.image)
        yield example


def picture_numbers(groups: Sequence[Sequence[int]]) -> dict[int, int]:
    """For each sample the number of its group; see `group_by_image`."""
    return {index: number for number, group in enumerate(groups) for index in group}


def group_by_image(samples: Sequence[Sample]) -> list[list[int]]:
    """Indices of the samples that show the same picture, groups and members in first-seen order.

    Two samples show the same picture when their paths are equal or their files' bytes are: ReasonSeg keeps one target
    per file, so a picture with two targets is stored twice. Only files of equal size are hashed. A file that cannot be
    read is compared by path alone; `load` is what reports it.
    """
    paths = list(dict.fromkeys(sample.image_path for sample in samples))
    by_size: dict[int, list[Path]] = defaultdict(list)
    for path in paths:
        if path.is_file():
            by_size[path.stat().st_size].append(path)
    picture: dict[Path, object] = {path: path for path in paths}
    for same_size in by_size.values():
        if len(same_size) > 1:
            for path in same_size:
                picture[path] = _digest(path) or path
    groups: dict[object, list[int]] = defaultdict(list)
    for index, sample in enumerate(samples):
        groups[picture[sample.image_path]].append(index)
    return list(groups.values())


def _digest(path: Path) -> bytes | None:
    """SHA-256 of the file's bytes, or None when it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).digest()
    except OSError:
        return None
