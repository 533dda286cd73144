from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.data import IGNORE
from lisa_core.data.augmentation.crop import SMALLEST_CROP, crop

from .conftest import example, phrases


@st.composite
def boxes(draw, width: int = 24, height: int = 17) -> tuple[int, int, int, int]:
    left, upper = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return left, upper, draw(st.integers(left + 1, width)), draw(st.integers(upper + 1, height))


@given(boxes(), boxes(), st.integers())
def test_every_target_stays_whole_and_the_picture_stays_under_its_mask(first, second, seed):
    before = [example("the dog", first, (24, 17)), example("the cat", second, (24, 17))]
    for one in before:
        one.mask[0, 0] = IGNORE
    after = crop(before, Random(seed))
    if after is None:
        return
    (width, height), whole = after[0].image.size, np.asarray(before[0].image)
    assert width >= round(SMALLEST_CROP * 24) and height >= round(SMALLEST_CROP * 17)
    assert after[0].image is after[1].image
    inside = np.asarray(after[0].image)
    ((y, x),) = [
        (y, x)
        for y in range(18 - height)
        for x in range(25 - width)
        if np.array_equal(whole[y : y + height, x : x + width], inside)
    ]
    for one, other in zip(before, after):
        assert np.array_equal(one.mask[y : y + height, x : x + width], other.mask)
        assert (other.mask == 1).sum() == (one.mask == 1).sum()


NOT_TO_BE_CUT = """
the leftmost dog|dog at the top|dog in the middle|the largest dog|the second dog|both dogs|only dog|large dog
dog next to the tree|dog near the edge|the whole dog|3 dogs|der Hund|the closest one
"""


@pytest.mark.parametrize("text", phrases(NOT_TO_BE_CUT))
def test_a_text_that_a_cut_may_make_untrue_keeps_the_picture_whole(about, text):
    assert all(crop(about(text, "the dog"), Random(seed)) is None for seed in range(20))
    assert crop(about("the dog with a hat"), Random(0)) is not None


def test_what_is_not_in_the_picture_is_not_in_a_part_of_it(about):
    (after,) = crop(about("the dog", boxes=[None]), Random(1)) or []
    assert after.image.size != (40, 30) and not after.mask.any()
