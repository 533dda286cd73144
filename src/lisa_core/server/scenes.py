"""Made-up scenes to ask about, drawn when they are asked for by the generator of `lisa data synth`."""

from __future__ import annotations

import io
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image

from lisa_core.data.synth import SynthConfig, make_scene
from lisa_core.data.wording import phrase

SCENES = 3
"""How many there are."""
_STREAM = 2**20  # apart from the streams of all datasets, whose second number is the split's, 0 to 2
_SIDE = 320  # pixels


@dataclass(frozen=True)
class MadeUpScene:
    """A picture, and sentences that are each true of one object in it."""

    png: bytes
    """The picture's file."""
    sentences: tuple[str, ...]
    """Two or three of them."""


@lru_cache(maxsize=SCENES)
def made_up_scene(number: int) -> MadeUpScene:
    """One of the scenes, 0 to SCENES - 1; the same one every time."""
    rng = np.random.default_rng(np.random.SeedSequence([0, _STREAM, number]))
    scene, expressions = make_scene(rng, SynthConfig(size=_SIDE))
    file = io.BytesIO()
    Image.fromarray(scene.image).save(file, "PNG")
    texts = [phrase(rng, expression, False)[0] for expression in expressions]
    return MadeUpScene(file.getvalue(), tuple(text if text.startswith("the ") else f"the {text}" for text in texts))
