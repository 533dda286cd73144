"""Large-scale jitter (Ghiasi et al., arXiv:2012.07177): a picture scaled up and cut, or down with a margin round it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import numpy as np
from PIL import Image

from lisa_core.data.augmentation.claims import compares, names_extent, names_place, names_size
from lisa_core.data.augmentation.crop import may_cut
from lisa_core.data.augmentation.shown import changed, cut, resized, targets_box, texts
from lisa_core.data.base import Example

SCALES = (0.1, 2.0)
"""Range of the factor on both sides, as published; the words and the targets' size narrow it."""

LEAST_TARGET = 1 / 14**2
"""No target is scaled down below this share of the picture: a patch of the coarsest grid that our families have."""


def scale_jitter(examples: Sequence[Example], rng: Random) -> list[Example] | None:
    """Objects at another scale in a picture of the same size; None where words or targets leave no choice.

    Scaled down, the whole picture stays, with a margin of its mean colour that is background; it stays in the middle
    where a text says where something is, or which of several it is. Scaled up, it is cut as by `crop`.
    """
    low, high = _least(examples), _most(examples)
    if high - low < 0.01:
        return None
    scale = rng.uniform(low, high)
    scaled = _enlarged(examples, scale, rng) if scale > 1 else _shrunk(examples, scale, rng)
    # Nearest neighbour may lose what is thinner than a pixel.
    if any((before.mask == 1).any() and not (after.mask == 1).any() for before, after in zip(examples, scaled)):
        return None
    return scaled


def _least(examples: Sequence[Example]) -> float:
    """The smallest factor that leaves words true and targets large enough."""
    if any(names_size(text) or names_extent(text) for text in texts(examples)):
        return 1.0
    shares = [float((example.mask == 1).mean()) for example in examples]
    smallest = min((share for share in shares if share), default=1.0)
    return min(max(SCALES[0], (LEAST_TARGET / smallest) ** 0.5), 1.0)


def _most(examples: Sequence[Example]) -> float:
    """The largest factor at which all targets fit into the picture, if the words allow that it is cut."""
    if not may_cut(examples):
        return 1.0
    (width, height), box = examples[0].image.size, targets_box(examples)
    if box is None:
        return SCALES[1]
    return max(min(SCALES[1], width / (box[2] - box[0]), height / (box[3] - box[1])), 1.0)


def _enlarged(examples: Sequence[Example], scale: float, rng: Random) -> list[Example]:
    """A cut-out with every target whole, as large as the picture."""
    width, height = examples[0].image.size
    left, upper, right, lower = targets_box(examples) or (0, 0, 0, 0)
    w, h = max(round(width / scale), right - left, 1), max(round(height / scale), lower - upper, 1)
    x = rng.randint(max(right - w, 0), min(left, width - w) if right else width - w)
    y = rng.randint(max(lower - h, 0), min(upper, height - h) if lower else height - h)
    return resized(cut(examples, (x, y, x + w, y + h)), width, height)


def _shrunk(examples: Sequence[Example], scale: float, rng: Random) -> list[Example]:
    """The whole picture, smaller, on a ground of its mean colour."""
    width, height = examples[0].image.size
    w, h = max(round(width * scale), 1), max(round(height * scale), 1)
    x, y = rng.randint(0, width - w), rng.randint(0, height - h)
    if any(names_place(text) or compares(text) for text in texts(examples)):
        x, y = (width - w) // 2, (height - h) // 2  # `on the left` stays left of the middle
    small = resized(examples, w, h)
    mean = np.asarray(examples[0].image).reshape(-1, 3).mean(axis=0).round().astype(int).tolist()
    image = Image.new("RGB", (width, height), tuple(mean))
    image.paste(small[0].image, (x, y))
    masks = [np.zeros((height, width), np.uint8) for _ in small]
    for mask, example in zip(masks, small):
        mask[y : y + h, x : x + w] = example.mask
    return changed(examples, image, masks)
