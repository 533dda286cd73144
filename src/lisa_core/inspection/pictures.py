"""One picture with all that is said about it: decoded once, every mask painted, its pixels hashed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from lisa_core.data import Example, SegmentationDataset
from lisa_core.errors import DataError

_CHUNK = 16  # pictures that a process is given at a time
_DIGEST = 16  # bytes

Found = tuple[int, str, str]
"""Index of a sample, kind of the fault, its line."""


@runtime_checkable
class ByPicture(Protocol):
    """A dataset whose pictures can be decoded once for all their samples; see `Reader`."""

    def picture(self, index: int) -> Image.Image:
        """The picture of a sample."""

    def painted(self, index: int, image: Image.Image) -> Example:
        """A sample with its mask, given its picture."""


class Looked(NamedTuple):
    """What was found about one picture."""

    indices: tuple[int, ...]
    """Its samples."""
    faults: list[Found]
    """What is wrong with them."""
    digest: bytes | None
    """Hash of its size and pixels; None when it cannot be decoded, or was not asked for."""


def by_picture(dataset: SegmentationDataset) -> list[tuple[int, ...]]:
    """The samples of each picture, in first-seen order."""
    groups: dict[Path, list[int]] = {}
    for index, sample in enumerate(dataset.samples):
        groups.setdefault(sample.image_path, []).append(index)
    return [tuple(group) for group in groups.values()]


def look_at_all(
    dataset: SegmentationDataset, groups: Sequence[tuple[int, ...]], hashed: bool, workers: int = 0
) -> Iterator[Looked]:
    """`look_at` each group in order; with `workers` in so many processes."""
    if workers < 2:
        yield from (look_at(dataset, group, hashed) for group in groups)
        return
    chunks = [groups[start : start + _CHUNK] for start in range(0, len(groups), _CHUNK)]
    with ProcessPoolExecutor(workers, initializer=_begin, initargs=(dataset, hashed)) as pool:
        # So many are under way at a time: results wait in memory, and there may be millions.
        waiting: list[Future[list[Looked]]] = []
        for chunk in chunks:
            waiting.append(pool.submit(_look_at_chunk, chunk))
            if len(waiting) > 4 * workers:
                yield from waiting.pop(0).result()
        for future in waiting:
            yield from future.result()


def look_at(dataset: SegmentationDataset, indices: tuple[int, ...], hashed: bool) -> Looked:
    """Decode a picture and paint all its masks."""
    faults: list[Found] = []
    image: Image.Image | None = None
    pictured = dataset if isinstance(dataset, ByPicture) else None
    if pictured is not None:
        try:
            image = pictured.picture(indices[0])
        except DataError as error:
            return Looked(indices, [(index, error.kind, str(error)) for index in indices], None)
        except Exception as error:
            return Looked(indices, [(index, "reader", _failed(dataset, index, error)) for index in indices], None)
    for index in indices:
        try:
            if pictured is not None and image is not None:
                example = pictured.painted(index, image)
            else:
                example = dataset.load(index)
        except DataError as error:
            faults.append((index, error.kind, str(error)))
        except Exception as error:  # nothing that a file holds may keep the others from being checked
            faults.append((index, "reader", _failed(dataset, index, error)))
        else:
            faults += [(index, kind, line) for kind, line in _doubts(example)]
            image = example.image
    return Looked(indices, faults, _digest(image) if hashed and image is not None else None)


def _doubts(example: Example) -> Iterator[tuple[str, str]]:
    """What a reader lets pass."""
    sample, mask = example.sample, example.mask
    where = f"{sample.annotation_path}: sample {sample.id}"
    if not example.sample.text.strip():
        yield "text", f"{where} has no sentence: write what to segment."
    if mask.shape != (example.image.height, example.image.width):
        yield "mask-size", f"{where} has a mask of {mask.shape}, its picture is {example.image.size}: correct it."
    elif not sample.no_target and not np.any(mask == 1):
        yield (
            "empty-mask",
            f"{where} has an outline without a pixel in its picture of {example.image.width} x {example.image.height}: "
            "correct or remove it, or say that there is no target.",
        )


def _failed(dataset: SegmentationDataset, index: int, error: Exception) -> str:
    sample = dataset.samples[index]
    reason = " ".join(str(error).split())
    return (
        f"{sample.annotation_path}: sample {sample.id} makes its reader fail ({type(error).__name__}: {reason}): "
        "please report it with the file."
    )


def _digest(image: Image.Image) -> bytes:
    pixels = hashlib.blake2b(f"{image.mode} {image.size}".encode(), digest_size=_DIGEST)
    pixels.update(image.tobytes())
    return pixels.digest()


_own: tuple[SegmentationDataset, bool] | None = None
"""What a process of the pool looks at."""


def _begin(dataset: SegmentationDataset, hashed: bool) -> None:
    global _own
    _own = dataset, hashed


def _look_at_chunk(groups: Sequence[tuple[int, ...]]) -> list[Looked]:
    assert _own is not None
    return [look_at(_own[0], group, _own[1]) for group in groups]
