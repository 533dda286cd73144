from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from lisa_core.data import Example, Sample, group_by_image, open_dataset
from lisa_core.data.same_picture import load_together, picture_numbers
from lisa_core.errors import DataError


def sample(image: Path, annotation: str = "a.json", number: int = 0) -> Sample:
    return Sample(f"{Path(annotation).stem}#{number}", image, Path(annotation), "the cat", False)


def test_pictures_are_grouped_by_path_and_by_bytes(tmp_path: Path) -> None:
    for name, content in {"a": b"xyz", "b": b"xyz", "c": b"xyw", "d": b"longer"}.items():
        (tmp_path / name).write_bytes(content)
    os.link(tmp_path / "a", tmp_path / "hard_link")
    names = ["c", "a", "d", "b", "a", "hard_link", "missing", "missing"]
    samples = [sample(tmp_path / name, number=i) for i, name in enumerate(names)]
    assert group_by_image(samples) == [[0], [1, 3, 4, 5], [2], [6, 7]]
    assert group_by_image([]) == []


def test_only_files_of_equal_size_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"22")

    def refuse(path: Path) -> bytes:
        raise AssertionError(f"{path} was read")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert group_by_image([sample(tmp_path / "a"), sample(tmp_path / "b")]) == [[0], [1]]


def test_sentences_of_one_picture_are_decoded_with_one_image(scenes: Path) -> None:
    dataset = open_dataset(scenes, "train")
    groups = group_by_image(dataset.samples)
    indices = [index for group in groups[:3] for index in reversed(group)]
    found = list(load_together(dataset, indices, picture_numbers(groups)))
    assert len({id(example.image) for example in found if isinstance(example, Example)}) == 3
    for index, example in zip(indices, found):
        assert isinstance(example, Example)
        alone = dataset.load(index)
        assert example.sample == alone.sample
        assert np.array_equal(example.mask, alone.mask)
        assert np.array_equal(np.asarray(example.image), np.asarray(alone.image))
    apart = list(load_together(dataset, indices, {}))
    assert len({id(example.image) for example in apart if isinstance(example, Example)}) == len(indices)


def test_what_cannot_be_decoded_is_its_error_and_the_rest_comes(scenes: Path, tmp_path: Path) -> None:
    shutil.copytree(scenes, tmp_path / "scenes")
    dataset = open_dataset(tmp_path / "scenes", "train")
    group = next(group for group in group_by_image(dataset.samples) if len(group) > 2)
    lost = dataset.samples[group[0]].annotation_path
    lost.unlink()
    first, *others = load_together(dataset, group, dict.fromkeys(group, 0))
    assert isinstance(first, DataError) and lost.name in str(first)
    fine = [dataset.samples[index].annotation_path != lost for index in group[1:]]
    assert [isinstance(item, Example) for item in others] == fine and any(fine)
