"""A generator's folder loses its own scenes alone, and only if that is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lisa_core.data.scene_folder import prepare_scene_folder
from lisa_core.errors import DataError


def prepare(folder: Path, force: bool = False) -> None:
    prepare_scene_folder(folder, "made.json", "a generator", ("train", "val"), force)


def test_a_new_folder_is_marked_as_begun(tmp_path: Path) -> None:
    prepare(tmp_path / "a" / "b")
    assert json.loads((tmp_path / "a" / "b" / "made.json").read_text()) == {
        "generator": "a generator",
        "complete": False,
    }


def test_scenes_of_its_splits_are_replaced_if_asked_for_and_nothing_else(tmp_path: Path) -> None:
    prepare(tmp_path)
    kept = ("train/scene_mine.jpg", "train/scene_00001_0.txt", "test/scene_00001_0.jpg", "notes.txt")
    lost = ("train/scene_00001_0.jpg", "train/scene_00001_12.json", "val/scene_123456_0.jpg")
    for name in (*kept, *lost):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    with pytest.raises(DataError, match="already holds scenes"):
        prepare(tmp_path)
    assert all((tmp_path / name).is_file() for name in lost)
    prepare(tmp_path, force=True)
    assert all((tmp_path / name).is_file() for name in kept)
    assert not any((tmp_path / name).exists() for name in lost)


def test_what_is_another_s_is_refused_even_then(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(DataError, match="was not written by `a generator`"):
        prepare(tmp_path, force=True)
    with pytest.raises(DataError, match="is a file"):
        prepare(tmp_path / "thesis.txt", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
