"""Lines are what splitting the whole text gives, in every encoding, and are found again by their place."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.data.files import read_text
from lisa_core.data.lines import Lines
from lisa_core.errors import DataError

TEXTS = st.text(st.sampled_from("ab é€\u2028\r\n\t\ufeff"), max_size=40)


@given(TEXTS, st.sampled_from(["utf-8", "utf-8-sig", "cp1252"]))
def test_lines_are_those_of_the_text(text: str, encoding: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x"
        path.write_bytes(text.encode(encoding, "replace"))
        expected = [(n, line) for n, line in enumerate(read_text(path).split("\n"), 1) if line.strip()]
        lines = Lines(path)
        found = list(lines)
        assert [(line.number, line.text.removesuffix("\n")) for line in found] == expected
        assert [lines.at(line.offset, line.check) for line in found] == [line.text for line in found]


def test_a_character_may_lie_across_what_is_read_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lisa_core.data.lines._CHUNK", 3)
    path = tmp_path / "x"
    path.write_text("ab€€€\n€", encoding="utf-8")
    assert [line.text for line in Lines(path)] == ["ab€€€\n", "€"]
    path.write_bytes("ab€".encode()[:-1])  # half a character: not UTF-8
    assert [line.text for line in Lines(path)] == ["abâ‚"]


def test_what_is_gone_changed_or_no_text_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with pytest.raises(DataError, match="x cannot be read: No such file") as caught:
        Lines(path)
    assert caught.value.kind == "missing-file"
    path.write_bytes(b"\x81\x8d")
    with pytest.raises(DataError, match="neither UTF-8 nor cp1252"):
        Lines(path)
    path.write_text("one\ntwo\n")
    lines = Lines(path)
    (_, second) = lines
    path.write_text("one\ntwa\n")
    with pytest.raises(DataError, match="was changed while it was in use"):
        lines.at(second.offset, second.check)
    path.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        lines.at(second.offset, second.check)
