"""Pickles as data: what was published is read, and nothing is ever run."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lisa_core.data.plain_pickle import read_plain_pickle
from lisa_core.errors import DataError

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=20,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(PLAIN, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_comes_back(tmp_path: Path, value: Any, protocol: int) -> None:
    (tmp_path / "x.p").write_bytes(pickle.dumps(value, protocol=protocol))
    assert read_plain_pickle(tmp_path / "x.p") == value


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252"])
def test_byte_strings_of_python_2_are_text(tmp_path: Path, encoding: str) -> None:
    text = "café".encode(encoding)
    (tmp_path / "x.p").write_bytes(b"\x80\x02]q\x00U" + bytes([len(text)]) + text + b"q\x01a.")
    assert read_plain_pickle(tmp_path / "x.p") == ["café"]


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch '{self.mark}'",)


def programs(mark: Path) -> dict[str, bytes]:
    command = f"touch '{mark}'".encode()
    return {
        "reduce": pickle.dumps([{"ref_id": 1}, Evil(mark)]),
        "old reduce": pickle.dumps(Evil(mark), protocol=0),
        "inst": b"(S'" + command.replace(b"'", b'"') + b"'\nios\nsystem\n.",
        "obj": b"(cos\nsystem\nS'" + command.replace(b"'", b'"') + b"'\no.",
        "builtin": b"c__builtin__\neval\n(S'1'\ntR.",
        "stack global": b"\x80\x04\x8c\x02os\x8c\x06system\x93.",
        "newobj": b"\x80\x02ccollections\nOrderedDict\n)\x81.",
        "extension": b"\x80\x02\x82\x01.",
    }


@pytest.mark.parametrize("kind", programs(Path()))
def test_a_program_is_named_and_not_run(tmp_path: Path, kind: str) -> None:
    mark = tmp_path / "was_here"
    (tmp_path / "refs(unc).p").write_bytes(programs(mark)[kind])
    with pytest.raises(DataError, match=r"refs\(unc\)\.p (asks for [\w.]+, a program|is not a pickle)") as caught:
        read_plain_pickle(tmp_path / "refs(unc).p")
    assert not mark.exists() and "\n" not in str(caught.value)
    if kind != "extension":  # by number, and nobody registered one
        assert "a program and not data" in str(caught.value)


def test_the_same_program_would_run_if_it_were_trusted(tmp_path: Path) -> None:
    pickle.loads(programs(tmp_path / "was_here")["reduce"])
    assert (tmp_path / "was_here").exists()


@pytest.mark.parametrize(
    "data", [b"", b"no pickle", b"\x80\x02]q\x00", b".", b"]" * 99, b"\x80\x63.", b"}b.", b"h\x05."]
)
def test_what_is_damaged_is_one_line(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.p").write_bytes(data)
    with pytest.raises(DataError, match=r"x\.p is not a pickle that can be read") as caught:
        read_plain_pickle(tmp_path / "x.p")
    assert "\n" not in str(caught.value)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60))
def test_no_bytes_do_more_than_fail(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.p").write_bytes(data)
    try:
        read_plain_pickle(tmp_path / "x.p")
    except DataError as error:
        assert "\n" not in str(error)


def test_a_missing_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"x\.p cannot be read"):
        read_plain_pickle(tmp_path / "x.p")
