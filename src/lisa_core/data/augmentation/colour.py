"""Brightness, contrast and saturation of pictures of which no sentence names a colour, a shade or the light."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from PIL import ImageEnhance

from lisa_core.data.augmentation.claims import names_colour
from lisa_core.data.augmentation.shown import changed, texts
from lisa_core.data.base import Example

STRENGTH = 0.4
"""Each factor is drawn from 1 - STRENGTH to 1 + STRENGTH. Hues stay: what is unripe or burnt is known by them alone."""


def colour(examples: Sequence[Example], rng: Random) -> list[Example] | None:
    """The picture in other light, masks as they are; None where a text names a colour."""
    if any(names_colour(text) for text in texts(examples)):
        return None
    image = examples[0].image
    changes = [ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color]
    rng.shuffle(changes)
    for change in changes:
        image = change(image).enhance(rng.uniform(1 - STRENGTH, 1 + STRENGTH))
    return changed(examples, image, [example.mask for example in examples])
