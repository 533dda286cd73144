from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco_mask

from lisa_core.outputs import mask_to_rle
from lisa_core.run_lengths import decompress, rle_to_mask, union_of

masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 20), st.integers(1, 20)))


@given(masks, st.integers(1, 40))
def test_what_coco_packs_is_unpacked(mask, scale):
    mask = mask.repeat(scale, 0)  # counts of several characters
    assert np.array_equal(rle_to_mask(mask_to_rle(mask)), mask)


@given(masks)
def test_plain_counts_down_the_columns(mask):
    counts, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            counts.append(0)
            value = pixel
        counts[-1] += 1
    size = list(mask.shape)
    assert np.array_equal(rle_to_mask({"size": size, "counts": counts}), mask)
    assert decompress(coco_mask.frPyObjects({"size": size, "counts": counts}, *size)["counts"].decode()) == counts


@given(st.text(alphabet=[chr(48 + k) for k in range(64)], max_size=30))
def test_any_text_is_a_mask_or_refused(text):
    try:
        mask = rle_to_mask({"size": [7, 5], "counts": text})
    except ValueError:
        return
    assert mask.shape == (7, 5) and mask.dtype == np.bool_
    assert np.array_equal(coco_mask.decode({"size": [7, 5], "counts": text.encode()}) > 0, mask)


@pytest.mark.parametrize(
    ("rle", "said"),
    [
        (None, "size"),
        ({"counts": "0"}, "size"),
        ({"size": [2], "counts": [4]}, "size"),
        ({"size": [2, 0], "counts": []}, "size"),
        ({"size": [2, True], "counts": [2]}, "size"),
        ({"size": [2, 2]}, "neither"),
        ({"size": [2, 2], "counts": [1.0, 3]}, "neither"),
        ({"size": [2, 2], "counts": [5, -1]}, "neither"),
        ({"size": [2, 2], "counts": [1, 2]}, "sum up to 3, but 2 x 2 is 4"),
        ({"size": [2, 2], "counts": [10**30]}, "sum up to"),
        ({"size": [2, 2], "counts": "4 "}, "' ' is no character"),
        ({"size": [2, 2], "counts": "T"}, "break off"),
    ],
)
def test_what_is_no_mask_is_refused_in_words(rle, said):
    with pytest.raises(ValueError, match=said):
        rle_to_mask(rle)


def test_union():
    a, b = np.eye(2, dtype=bool), np.zeros((2, 2), bool)
    assert np.array_equal(union_of([a, b], (2, 2)), a)
    empty = union_of([], (3, 4))
    assert empty.shape == (3, 4) and empty.dtype == np.bool_ and not empty.any()
