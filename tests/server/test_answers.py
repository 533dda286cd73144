"""Pictures as strangers send them."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

pytest.importorskip("fastapi")

from lisa_core.errors import DataError
from lisa_core.server.answers import read_picture
from lisa_core.server.limits import Limits, check_sentences


def png(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.arange(width * height * 3, dtype=np.uint8).reshape(height, width, 3)).save(file, "PNG")
    return file.getvalue()


@given(st.binary(max_size=200), st.integers(0, 200))
def test_bytes_are_a_picture_or_refused_in_one_line(noise, place):
    good = png(9, 7)
    for data in (noise, good[:place] + noise + good[place:]):
        try:
            assert read_picture(data, 100).mode == "RGB"
        except DataError as error:
            assert "\n" not in str(error)


@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 900))
def test_only_pictures_within_the_limit_are_read(width, height, pixels):
    data = png(width, height)
    if width * height <= pixels:
        assert read_picture(data, pixels).size == (width, height)
    else:
        with pytest.raises(DataError, match=f"{width} x {height} pixels"):
            read_picture(data, pixels)


@given(st.lists(st.text(max_size=8), max_size=6))
def test_sentences_are_within_the_limits_or_refused(texts):
    limits = Limits(sentences=3, letters=5)
    good = 1 <= len(texts) <= 3 and all(text.strip() and len(text) <= 5 for text in texts)
    if good:
        check_sentences(texts, limits)
    else:
        with pytest.raises(DataError):
            check_sentences(texts, limits)
