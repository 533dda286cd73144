from __future__ import annotations

import numpy as np
import pytest

from lisa_core.data.shapes import COLOURS, REACH, SHAPES


@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_are_centred_and_within_reach(shape: str) -> None:
    outline = SHAPES[shape]
    assert 0.9 < np.linalg.norm(outline, axis=1).max() <= REACH < 1.4
    middle = (outline.min(axis=0) + outline.max(axis=0)) / 2
    assert np.abs(middle).max() < (0.12 if shape == "star" else 0.01)


def test_colours_are_far_apart() -> None:
    names = list(COLOURS)
    distances = [np.linalg.norm(np.subtract(COLOURS[a], COLOURS[b])) for i, a in enumerate(names) for b in names[:i]]
    assert min(distances) > 75
