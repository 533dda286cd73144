"""What was painted comes back as it was, and memory has an end."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lisa_core.data import IGNORE
from lisa_core.data.mask_cache import MaskCache

MASKS = st.tuples(st.integers(1, 40), st.integers(1, 40)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, IGNORE]))
)


@given(MASKS, MASKS)
def test_masks_come_back_by_name_as_they_were(one: np.ndarray, other: np.ndarray) -> None:
    cache = MaskCache()
    cache.put("one", one)
    cache.put("other", other)
    for name, mask in (("one", one), ("other", other)):
        found = cache.get(name)
        assert found is not None and found.dtype == np.uint8 and np.array_equal(found, mask)
    assert cache.get("another") is None


def test_what_is_read_is_the_reader_s_own() -> None:
    cache = MaskCache()
    cache.put("one", np.ones((3, 4), dtype=np.uint8))
    found = cache.get("one")
    assert found is not None
    found[:] = 0
    again = cache.get("one")
    assert again is not None and again.all()


def test_what_does_not_fit_is_left_out_and_what_is_there_stays() -> None:
    checks = np.indices((40, 40)).sum(0).astype(np.uint8) % 2  # compresses badly
    plain = np.zeros((40, 40), dtype=np.uint8)
    cache = MaskCache(most_bytes=100)
    cache.put("plain", plain)
    cache.put("checks", checks)
    assert cache.get("checks") is None and np.array_equal(cache.get("plain"), plain)
    whole = MaskCache(most_bytes=10_000)
    whole.put("checks", checks)
    whole.put("checks", plain)  # the first of a name counts
    assert np.array_equal(whole.get("checks"), checks)
