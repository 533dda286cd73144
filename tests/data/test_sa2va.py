"""Sa2VA's annotations.json, with the splits it knows and those it does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest
from builders import of, scenes

from lisa_core.data import open_dataset
from lisa_core.errors import DataError


@pytest.mark.parametrize("style", ["utf-8", "utf-8-sig", "cp1252"])
def test_masks_and_texts_are_read_back_exactly(tmp_path: Path, style: str) -> None:
    builders.write_sa2va(tmp_path, style)
    everything = [open_dataset(tmp_path, split) for split in ("train", "val")]
    found = {}
    for data in everything:
        for index, sample in enumerate(data.samples):
            found[sample.image_path.stem, sample.text] = data.load(index).mask
            assert sample.source == "sa2va" and sample.is_sentence is sample.text.endswith("?")
    expected = {(scene.name, thing.texts[0]): thing.mask for scene in scenes() for thing in scene.things}
    assert found.keys() == expected.keys()
    assert all(np.array_equal(found[key], expected[key]) for key in expected)
    assert len({sample.image_path for sample in everything[1].samples}) == 1
    with pytest.raises(DataError, match="no split 'test'"):
        open_dataset(tmp_path, "test")


def test_files_of_splits_come_first(tmp_path: Path) -> None:
    builders.write_sa2va(tmp_path)
    for split in ("train", "val", "test"):
        builders.write_sa2va(tmp_path, split=split)
        data = open_dataset(tmp_path, split)
        assert {sample.image_path.stem for sample in data.samples} == {scene.name for scene in of(split)}


BAD: dict[str, tuple[Any, str]] = {
    "no object": (3, "entry 0 must be an object"),
    "no image": ({"mask": [], "text": []}, "`image` of entry 0 must be a file name"),
    "outside": ({"image": "../../x.jpg", "mask": [], "text": []}, "`image` of entry 0 points outside"),
    "absent": ({"image": "x.jpg", "mask": [], "text": []}, "`image` of entry 0 names 'x.jpg'"),
    "counts": ({"image": "two.jpg", "mask": [[[1, 2, 3, 4, 5, 6]]], "text": []}, "as many texts as masks"),
    "blank": ({"image": "two.jpg", "mask": [[[1, 2, 3, 4, 5, 6]]], "text": [" "]}, "text 0 of entry 0 must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_entry_is_named_or_skipped(tmp_path: Path, case: str) -> None:
    entry, line = BAD[case]
    builders.write_sa2va(tmp_path, split="train")
    path = tmp_path / "annotations_train.json"
    good = builders.json.loads(path.read_text(encoding="utf-8"))
    builders.write_json(path, [entry, *good])
    with pytest.raises(DataError, match=line) as caught:
        open_dataset(tmp_path, "train", format="sa2va")
    assert "annotations_train.json" in str(caught.value) and "\n" not in str(caught.value)
    assert len(open_dataset(tmp_path, "train", on_error="skip", format="sa2va")) == 4


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_points_that_are_not_finite_are_named(tmp_path: Path, number: float) -> None:
    builders.write_sa2va(tmp_path, split="train")
    path = tmp_path / "annotations_train.json"
    builders.write_json(path, [{"image": "two.jpg", "mask": [[[1, 2, 3, 4, 5, number]]], "text": ["x"]}])
    with pytest.raises(DataError, match=r"annotations_train\.json: mask 0#0 has a polygon .* not finite"):
        open_dataset(tmp_path, "train", format="sa2va").load(0)
