"""Pictures of noise with targets, so that every pixel can be told from every other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_core.data import Example, Sample

Box = tuple[int, int, int, int]


def example(text: str, box: Box | None, size: tuple[int, int] = (40, 30), **fields) -> Example:
    """A sentence about a picture whose target fills `box` (left, upper, right, lower); None: there is none."""
    is_sentence = fields.pop("is_sentence", text.endswith("?"))
    width, height = size
    noise = np.random.default_rng(width * 1000 + height).integers(0, 256, (height, width, 3))
    mask = np.zeros((height, width), np.uint8)
    if box is not None:
        left, upper, right, lower = box
        mask[upper:lower, left:right] = 1
    sample = Sample(f"{text}#0", Path("picture.jpg"), Path("picture.json"), text, is_sentence, **fields)
    return Example(sample, Image.fromarray(noise.astype(np.uint8)), mask)


@pytest.fixture
def about() -> Callable[..., list[Example]]:
    """Sentences about one picture, each with a target of its own, side by side."""

    def make(*texts: str, size: tuple[int, int] = (40, 30), boxes: Sequence[Box | None] | None = None) -> list[Example]:
        places = boxes or [(2 + 9 * number, 5, 9 + 9 * number, 12) for number in range(len(texts))]
        return [example(text, box, size) for text, box in zip(texts, places)]

    return make


def phrases(text: str) -> list[str]:
    """Phrases parted by bars or line ends."""
    return text.strip().replace("\n", "|").split("|")
