"""Mirrored pictures, whose sentences have left and right exchanged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import ImageOps

from lisa_core.data.augmentation.mirror_words import mirrored
from lisa_core.data.augmentation.shown import changed
from lisa_core.data.base import Example, Sample


def flip(examples: Sequence[Example]) -> list[Example] | None:
    """Picture, masks and words mirrored, exactly; None where the words of one sentence cannot be."""
    samples = [_mirrored(example.sample) for example in examples]
    if None in samples:
        return None
    masks = [np.ascontiguousarray(example.mask[:, ::-1]) for example in examples]
    fresh = changed(examples, ImageOps.mirror(examples[0].image), masks)
    return [replace(example, sample=sample) for example, sample in zip(fresh, samples)]  # type: ignore[arg-type]


def _mirrored(sample: Sample) -> Sample | None:
    """The sample with its text and answer mirrored."""
    text = mirrored(sample.text, sample.is_sentence)
    answer = None if sample.answer is None else mirrored(sample.answer)
    if text is None or (sample.answer is not None and answer is None):
        return None
    return replace(sample, text=text, answer=answer)
