"""MUSE: answers with several masks in the order of their words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest
from builders import of

from lisa_core.data import open_dataset
from lisa_core.errors import DataError


def folder(tmp_path: Path) -> Path:
    """The set where it was published: its pictures are two folders up."""
    root = tmp_path / "multi_reason_seg" / "MUSE"
    root.mkdir(parents=True)
    return root


@pytest.mark.parametrize("split", ["train", "val", "test"])
@pytest.mark.parametrize("style", ["utf-8", "utf-8-sig", "ascii"])
def test_masks_are_read_back_exactly_in_the_answer_s_order(tmp_path: Path, style: str, split: str) -> None:
    root = folder(tmp_path)
    builders.write_muse(root, style)
    data = open_dataset(root, split)
    assert len(data) == 2 * len(of(split))
    for number, scene in enumerate(of(split)):
        whole, first = (data.load(2 * number + place) for place in (0, 1))
        assert whole.sample.text == "Which objects are there?" and whole.sample.is_sentence
        assert whole.sample.answer is not None and whole.sample.answer.count("{seg}") == len(scene.things)
        assert whole.masks is not None and whole.instances is not None
        assert all(np.array_equal(mask, thing.mask) for mask, thing in zip(whole.masks, scene.things, strict=True))
        assert np.array_equal(whole.mask, np.logical_or.reduce([thing.mask for thing in scene.things]))
        assert first.masks is not None and np.array_equal(first.masks[0], scene.things[0].mask)
        name = scene.things[0].texts[0]
        assert first.sample.answer == f"{name[0].upper()}{name[1:]} {{seg}}."
        assert whole.sample.kind == first.sample.kind == "masks" and whole.sample.source == "muse"


def test_without_words_the_objects_are_listed(tmp_path: Path) -> None:
    root = folder(tmp_path)
    builders.write_muse(root, words=False)
    assert (
        open_dataset(root, "train").samples[0].answer == "The frame {seg}, the left dog {seg} and the right dog {seg}."
    )


def one(**changes: Any) -> dict[str, Any]:
    objects = [{"segmentation": [[1, 1, 9, 1, 9, 9]], "category_name": "dog"}] * 2
    return {"file_name": "two.jpg", "questions": ["Where?"], "answers": [objects], **changes}


BAD: dict[str, tuple[Any, str]] = {
    "no object": (3, "entry 0 must be an object"),
    "no picture": ({"questions": [], "answers": []}, "the picture of entry 0 must be a file name"),
    "absent": (one(file_name="x.jpg"), "the picture of entry 0 names 'x.jpg'"),
    "outside": (one(file_name="../x.jpg"), "points outside"),
    "counts": (one(answers=[]), "as many answers as questions"),
    "words": (one(text_answers=["a {seg}", "b {seg}"]), "as many text_answers as questions"),
    "places": (one(text_answers=["one {seg} only"]), "has 1 {seg} for 2 objects"),
    "no answer": (one(answers=[[]]), "must have a list of objects"),
    "blank": (one(questions=[" "]), "question 0 of entry 0 must be a sentence"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_entry_is_named_or_skipped(tmp_path: Path, case: str) -> None:
    entry, line = BAD[case]
    root = folder(tmp_path)
    builders.write_muse(root)
    path = root / "MUSE_train.json"
    good = builders.json.loads(path.read_text(encoding="utf-8"))
    builders.write_json(path, [entry, *good])
    with pytest.raises(DataError, match=line) as caught:
        open_dataset(root, "train")
    assert "MUSE_train.json" in str(caught.value) and "\n" not in str(caught.value)
    rest = open_dataset(root, "train", on_error="skip")
    assert len(rest) == 4 and len(rest.skipped) == 1


def test_an_outline_that_cannot_be_painted_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path)
    builders.write_muse(root)
    builders.write_json(root / "MUSE_train.json", [one(answers=[[{"segmentation": [[1, 2]]}]])])
    with pytest.raises(DataError, match=r"MUSE_train\.json: object 0 of question 0#0 has a polygon"):
        open_dataset(root, "train").load(0)
