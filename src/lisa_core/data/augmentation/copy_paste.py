"""Copy-paste (Ghiasi et al., arXiv:2012.07177): an object of another picture as one more thing to tell apart."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from random import Random

import numpy as np
from PIL import Image

from lisa_core.data.augmentation.claims import compares, names_extent, names_place, names_size
from lisa_core.data.augmentation.nouns import Noun, may_stand_beside
from lisa_core.data.augmentation.plain_phrases import plain_noun
from lisa_core.data.augmentation.shown import changed, cut, targets_box
from lisa_core.data.base import Example, Sample
from lisa_core.types import IGNORE

SIDES = (0.1, 0.5)
"""The longer side of a pasted object, in shares of the picture's shorter side."""

_TRIES = 20  # places that are looked at


def named_by(samples: Iterable[Sample]) -> list[Noun] | None:
    """What each sentence names; None if one says more than that, so that any further object might make it untrue."""
    nouns = []
    for sample in samples:
        text = sample.text
        noun = (
            None if names_place(text) or names_size(text) or names_extent(text) or compares(text) else plain_noun(text)
        )
        if noun is None or sample.answer is not None:
            return None
        nouns.append(noun)
    return nouns


def may_give(donor: Sample, nouns: Sequence[Noun]) -> bool:
    """Whether the target of another sample is surely none of the things that the sentences name."""
    pasted = plain_noun(donor.text)
    return not donor.no_target and pasted is not None and all(may_stand_beside(pasted, noun) for noun in nouns)


def copy_paste(examples: Sequence[Example], donors: Iterable[Example], rng: Random) -> list[Example] | None:
    """The picture with the target of one donor pasted beside all targets; None where words or room do not allow it.

    Under the object nothing is target, and nothing stays uncounted: what is seen there is known.
    """
    nouns = named_by(example.sample for example in examples)
    if nouns is None:
        return None
    for donor in donors:
        found = _object(donor, examples[0].image.size, rng) if may_give(donor.sample, nouns) else None
        if found is not None:
            return _pasted(examples, *found, rng)
    return None


def _object(donor: Example, size: tuple[int, int], rng: Random) -> tuple[Image.Image, np.ndarray] | None:
    """The donor's target cut out, with its outline, bool [h,w], at a random size that fits the picture."""
    box = targets_box([donor])
    if box is None:
        return None
    (part,) = cut([donor], box)
    longest = rng.uniform(*SIDES) * min(size)
    scale = min(longest / max(part.image.size), 2.0)  # further enlarged, it is a blur that gives itself away
    w, h = (max(round(length * scale), 1) for length in part.image.size)
    outline = Image.fromarray((part.mask == 1).astype(np.uint8) * 255).resize((w, h), Image.Resampling.BILINEAR)
    shape = np.array(outline) >= 128
    if shape.sum() < 16:
        return None
    return part.image.resize((w, h), Image.Resampling.BILINEAR), shape


def _pasted(examples: Sequence[Example], picture: Image.Image, shape: np.ndarray, rng: Random) -> list[Example] | None:
    """The object at a random place where it touches no target; None if none was found."""
    image = np.array(examples[0].image)
    target = np.any([example.mask == 1 for example in examples], axis=0)  # [H,W]
    h, w = shape.shape
    for _ in range(_TRIES):
        x, y = rng.randint(0, image.shape[1] - w), rng.randint(0, image.shape[0] - h)
        if (target[y : y + h, x : x + w] & shape).any():
            continue
        image[y : y + h, x : x + w][shape] = np.asarray(picture)[shape]
        masks = [example.mask.copy() for example in examples]
        for mask in masks:
            below = mask[y : y + h, x : x + w]
            below[shape & (below == IGNORE)] = 0
        return changed(examples, Image.fromarray(image), masks)
    return None
