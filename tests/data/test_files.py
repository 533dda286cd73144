"""Text, JSON and paths as datasets give them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.data.files import (
    begins_with,
    finite_numbers,
    held_out,
    inner_path,
    is_number,
    is_question,
    parse_points,
    read_text,
    short,
    split_names,
)
from lisa_core.errors import DataError


@given(st.text())
def test_no_name_leads_out_of_the_folder(name: str) -> None:
    root = Path("/data/set")
    try:
        inner = inner_path(name, Path("x.json"), "`image`", root)
    except DataError as error:
        assert "\n" not in str(error)
        return
    assert ".." not in Path(inner).parts and not inner.startswith("/")
    assert (root / inner).is_relative_to(root)


@pytest.mark.parametrize(
    "name",
    [
        "/x",
        "../x",
        "a/../../x",
        "..\\x",
        "a\\..\\..\\x",
        "\\x",
        "C:x",
        "c:\\x",
        "\\\\host\\share\\x",
        "..",
        ".",
        "a/..",
        "",
    ],
)
def test_ways_out_are_refused(name: str) -> None:
    with pytest.raises(DataError, match=r"x\.json: `image` (points outside|must be a file name)"):
        inner_path(name, Path("x.json"), "`image`", Path("/data/set"))


@pytest.mark.parametrize(
    ("name", "inner"), [("a\\b.jpg", "a/b.jpg"), ("./a/../b c.jpg", "b c.jpg"), ("ö.jpg", "ö.jpg")]
)
def test_other_spellings_are_normalised(name: str, inner: str) -> None:
    assert inner_path(name, Path("x.json"), "`image`", Path("/data/set")) == inner


@given(st.sets(st.text(max_size=5), max_size=40))
def test_a_tenth_is_held_out_whatever_the_order(keys: set[str]) -> None:
    chosen = held_out(sorted(keys))
    assert chosen == held_out(sorted(keys, reverse=True)) and chosen <= keys
    assert len(chosen) == (max(len(keys) // 10, 1) if len(keys) > 1 else 0)


def test_splits_by_their_other_names() -> None:
    assert split_names("val") == ("val", "validation", "valid")
    assert split_names("validation")[0] == "validation" and "val" in split_names("validation")
    assert split_names("testA") == ("testA",)


def test_sentences_end_like_sentences() -> None:
    assert is_question("Where is it? ") and is_question("Find it.") and not is_question("the left dog")


def test_a_look_at_the_first_character(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\xef\xbb\xbf\r\n  [1]")
    assert begins_with(tmp_path / "x", "[") and not begins_with(tmp_path / "x", "{")
    assert not begins_with(tmp_path / "none", "[") and not begins_with(tmp_path, "[")


def test_text_that_is_none_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x81\x8d")
    for path, line in ((tmp_path / "x", "neither UTF-8 nor cp1252"), (tmp_path, "cannot be read")):
        with pytest.raises(DataError, match=line):
            read_text(path)


LIMIT = int(1e300)
BORDER = st.sampled_from([LIMIT - 1, LIMIT, LIMIT + 1, -LIMIT, 1e300, 10**400, np.float64(1)])
NUMBERS = st.one_of(st.integers(), st.floats(allow_nan=True, allow_infinity=True), BORDER)
ODD = st.one_of(st.booleans(), st.none(), st.text(max_size=3), st.lists(st.integers(), max_size=2))


@given(st.lists(st.one_of(NUMBERS, ODD), max_size=6))
def test_numbers_at_once_are_numbers_one_by_one(values: list[object]) -> None:
    found = finite_numbers(values)
    if all(map(is_number, values)):
        assert found is not None and found.tolist() == [float(value) for value in values]  # type: ignore[arg-type]
    else:
        assert found is None


@pytest.mark.parametrize("odd", [[1], [1, 2, 3], [1, True], [1, None], [1, float("nan")], [1, 10**400], 7, "ab", {}])
def test_the_point_that_is_none_is_named(odd: object) -> None:
    with pytest.raises(DataError, match=f"^a.json: shape 0 has the point {re.escape(short(odd))}: ") as caught:
        parse_points([[1, 2.5], odd, [3, 4]], "a.json: shape 0")
    assert caught.value.kind == "polygon"
    assert parse_points([[1, 2.5], [LIMIT - 1, 4]], "a.json").tolist() == [[1, 2.5], [1e300, 4]]
