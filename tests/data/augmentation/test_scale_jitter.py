from __future__ import annotations

from random import Random

import numpy as np
import pytest
from hypothesis import example as such_as
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.data import IGNORE
from lisa_core.data.augmentation.scale_jitter import LEAST_TARGET, scale_jitter

from .conftest import example
from .test_crop import boxes


@such_as((23, 16, 24, 17), (0, 0, 1, 1), 0)
@given(boxes(), boxes(), st.integers())
def test_size_and_values_stay_and_no_target_is_lost(first, second, seed):
    before = [example("the dog", first, (24, 17)), example("the cat", second, (24, 17))]
    before[0].mask[-1, -1] = IGNORE  # which may have been all of the target
    after = scale_jitter(before, Random(seed))
    for one, other in zip(before, after or []):
        assert (other.mask == 1).any() == (one.mask == 1).any()
        assert other.image.size == (24, 17) and other.mask.shape == (17, 24) and other.mask.dtype == np.uint8
        assert set(np.unique(other.mask)) <= {0, 1, IGNORE}
        assert other.image is (after or [])[0].image


def solid(text: str, size: int = 200, target: int = 80):
    """A white target in the middle of a black picture: what is bright shows where the mask must be."""
    start = (size - target) // 2
    one = example(text, (start, start, start + target, start + target), (size, size))
    one.image.paste((0, 0, 0), (0, 0, size, size))
    one.image.paste((255, 255, 255), (start, start, start + target, start + target))
    return one


@pytest.mark.parametrize("seed", range(40))
def test_mask_and_picture_are_scaled_alike(seed):
    (after,) = scale_jitter([solid("the dog")], Random(seed)) or []
    bright = np.asarray(after.image)[..., 0] > 127
    assert (bright != (after.mask == 1)).mean() < 0.01


def test_objects_become_smaller_and_larger_within_the_range():
    shares = [(scale_jitter([solid("the dog")], Random(seed)) or [])[0].mask.mean() for seed in range(200)]
    before = (80 / 200) ** 2
    assert LEAST_TARGET * 0.8 < min(shares) < before / 20 and before * 2 < max(shares) <= before * 4.1
    small = [(scale_jitter([solid("the dog", target=20)], Random(seed)) or [])[0].mask.mean() for seed in range(100)]
    assert min(small) > LEAST_TARGET * 0.8, "a small target is not made smaller than a patch"


@pytest.mark.parametrize("text", ["the leftmost dog", "dog below the tree", "the largest dog", "two dogs", "only dog"])
def test_words_of_place_and_order_keep_the_whole_picture_in_the_middle(text):
    for seed in range(30):
        (after,) = scale_jitter([solid(text)], Random(seed)) or []
        rows, columns = np.nonzero(after.mask)
        assert after.mask.mean() < (80 / 200) ** 2, "it is never cut"
        assert abs(rows.mean() - 99.5) < 2 and abs(columns.mean() - 99.5) < 2


@pytest.mark.parametrize(
    "text", ["the large dog", "dog at the edge of the picture", "le chien", "the dog very far left"]
)
def test_words_of_size_and_border_leave_it_as_it_is(text):
    assert all(scale_jitter([solid(text), solid("the dog")], Random(seed)) is None for seed in range(20))


def test_the_margin_is_background_of_the_mean_colour():
    for seed in range(30):
        (after,) = scale_jitter([solid("two dogs")], Random(seed)) or []
        assert np.asarray(after.image)[0, 0].tolist() == [round(255 * 0.16)] * 3 or after.mask.mean() > 0.14
        assert after.mask[0].max() == 0
