"""One picture with its sentences, and what all the changes of it have in common."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from lisa_core.data.base import Example

Box = tuple[int, int, int, int]
"""(left, upper, right, lower) in pixels; right and lower are outside."""


def texts(examples: Sequence[Example]) -> Iterator[str]:
    """Everything that is said of the picture: questions and explanatory answers."""
    for example in examples:
        yield example.sample.text
        if example.sample.answer is not None:
            yield example.sample.answer


def changed(examples: Sequence[Example], image: Image.Image, masks: Sequence[np.ndarray]) -> list[Example]:
    """The same sentences about another picture, which they all share; its objects are not told apart any more."""
    return [replace(example, image=image, mask=mask, instances=None) for example, mask in zip(examples, masks)]


def targets_box(examples: Sequence[Example]) -> Box | None:
    """The smallest box that holds every target of the sentences; None if there is none."""
    target = np.any([example.mask == 1 for example in examples], axis=0)  # [H,W]
    rows, columns = np.flatnonzero(target.any(axis=1)), np.flatnonzero(target.any(axis=0))
    if not len(rows):
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def cut(examples: Sequence[Example], box: Box) -> list[Example]:
    """The part of picture and masks in a box."""
    left, upper, right, lower = box
    image = examples[0].image.crop(box)
    return changed(examples, image, [example.mask[upper:lower, left:right].copy() for example in examples])


def resized(examples: Sequence[Example], width: int, height: int) -> list[Example]:
    """Picture (bilinear) and masks (nearest neighbour, so that values stay what they are) at another size in pixels."""
    image = examples[0].image.resize((width, height), Image.Resampling.BILINEAR)
    nearest = Image.Resampling.NEAREST
    masks = [np.array(Image.fromarray(example.mask).resize((width, height), nearest)) for example in examples]
    return changed(examples, image, masks)
