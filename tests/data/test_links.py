"""A second name for a file: a link, a copy, or an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from lisa_core.data.links import link_or_copy


def test_it_is_the_same_file_where_it_can_be(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("one")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").samefile(tmp_path / "a")


def test_it_is_a_copy_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    (tmp_path / "a").write_text("one")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").read_text() == "one" and not (tmp_path / "b").samefile(tmp_path / "a")


def test_it_raises_what_is_in_the_way(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        link_or_copy(tmp_path / "a", tmp_path / "b")
