"""COCO files: whose pictures are looked for where, and a line for whatever does not hold together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest
from builders import CATEGORIES, coco_json, of

from lisa_core.data import open_dataset
from lisa_core.errors import DataError


def write(root: Path, change: Any = None, pictures: str = "train2017", name: str = "annotations/x.json") -> Path:
    content = coco_json(of("train"), CATEGORIES)
    content = change(content) or content if change else content
    builders.write_json(root / name.replace("x", "instances_train2017"), content, "ascii")
    for scene in of("train"):
        builders.save_picture(scene, root / pictures)
    return root


@pytest.mark.parametrize("pictures", ["train2017", "images/train2017", "train", "images/train", "images", "."])
def test_pictures_are_found_where_they_are_kept(tmp_path: Path, pictures: str) -> None:
    root = write(tmp_path, pictures=pictures)
    assert len(open_dataset(root, "train")) == 3 and open_dataset(root, "train2017").load(0).mask.any()


def test_the_objects_of_a_category_are_told_apart_and_crowds_are_none(tmp_path: Path) -> None:
    data = open_dataset(write(tmp_path), "train")
    things = {(scene.name, thing.category): [] for scene in of("train") for thing in scene.things}
    for scene in of("train"):
        for thing in scene.things:
            things[scene.name, thing.category].append(thing.mask)
    for index, sample in enumerate(data.samples):
        objects, masks = data.load(index).instances, things[sample.image_path.stem, sample.text]
        assert objects is not None and len(objects) == len(masks)
        assert all(np.array_equal(found == 1, mask) for found, mask in zip(objects, masks))
    assert max(map(len, things.values())) == 2


def test_names_composed_otherwise_are_found(tmp_path: Path) -> None:
    root = write(tmp_path)
    import unicodedata

    for path in list((root / "train2017").iterdir()):
        path.rename(path.with_name(unicodedata.normalize("NFD", path.name)))
    assert len(open_dataset(root, "train")) == 3


def test_several_years_of_a_split_are_told(tmp_path: Path) -> None:
    root = write(tmp_path)
    (root / "annotations" / "instances_train2014.json").write_text("{}")
    with pytest.raises(
        DataError, match=r"instances_train2014\.json and instances_train2017\.json for the split 'train'"
    ):
        open_dataset(root, "train")
    assert len(open_dataset(root, "train2017")) == 3


def test_split_json_beside_pictures(tmp_path: Path) -> None:
    builders.write_json(tmp_path / "train.json", coco_json(of("train"), CATEGORIES))
    for scene in of("train"):
        builders.save_picture(scene, tmp_path / "images")
    assert len(open_dataset(tmp_path, "train")) == 3


def test_a_category_that_is_there_as_a_crowd_only_is_not_asked_for(tmp_path: Path) -> None:
    def crowd(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            annotation["iscrowd"] = int(annotation["category_id"] == 11)

    assert [s.text for s in open_dataset(write(tmp_path, crowd), "train").samples] == ["frame", "kite"]


def first(key: str, **more: Any) -> Any:
    def change(content: dict[str, Any]) -> None:
        content[key][0].update(more)

    return change


BAD = {
    "a list": (lambda content: [content], "must be an object with images"),
    "no images": (lambda content: content.update(images=None), "`images` must be a list"),
    "images of text": (lambda content: content.update(images=["x"]), "`images` must be a list of objects"),
    "no image id": (first("images", id=None), "image 0 has the `id` null"),
    "no category name": (first("categories", name=" "), "category 0 has no name"),
    "no picture of it": (first("annotations", image_id=[1]), r"annotation 0 has the `image_id` \[1\]"),
    "another's picture": (first("annotations", image_id=77), "annotation 500 is of image 77, which is not in `images`"),
    "unknown category": (first("annotations", category_id=77), "annotation 500 has the category 77"),
    "category of lists": (first("annotations", category_id=[1]), r"annotation 500 has the category \[1\]"),
    "boxes only": (first("annotations", segmentation=None), "annotation 500 has no segmentation"),
    "outside": (first("images", file_name="../../x.jpg"), "image 1000 points outside"),
    "absent": (first("images", file_name="nowhere.jpg"), "image 1000 names 'nowhere.jpg', which is in none of"),
    "no file name": (first("images", file_name=None), "image 1000 must be a file name"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_hold_together_is_one_line(tmp_path: Path, case: str) -> None:
    change, line = BAD[case]
    root = write(tmp_path, change)
    with pytest.raises(DataError, match=line) as caught:
        open_dataset(root, "train")
    assert "instances_train2017.json" in str(caught.value) and "\n" not in str(caught.value)
    if case in ("another's picture", "unknown category", "category of lists", "boxes only", "outside", "absent"):
        lenient = open_dataset(root, "train", on_error="skip")
        assert len(lenient) >= 1 and str(caught.value) in [line for _, line in lenient.skipped]


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (first("annotations", segmentation=[[1, 1, 2, 2, float("nan"), 3]]), "annotation 500 has a polygon"),
        (first("annotations", segmentation=[[1, 1, 2, 2, 1e400, 3]]), "annotation 500 has a polygon"),
        (first("annotations", segmentation={"size": [2, 2], "counts": "1"}), r"annotation 500 has run lengths of size"),
        (first("images", height=19), r"is 24 x 18 pixels, the file says 24 x 19"),
    ],
)
def test_what_cannot_be_painted_is_named_when_loaded(tmp_path: Path, change: Any, line: str) -> None:
    data = open_dataset(write(tmp_path, change), "train")
    index = next(n for n, sample in enumerate(data.samples) if sample.text == "frame")
    with pytest.raises(DataError, match=line) as caught:
        data.load(index)
    assert "instances_train2017.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["[" * 10_000, '{"images": ' + "[" * 10_000 + "]" * 10_000 + "}", "{" * 3])
def test_deep_nesting_is_one_line(tmp_path: Path, text: str) -> None:
    root = write(tmp_path)
    (root / "annotations" / "instances_train2017.json").write_text(text)
    with pytest.raises(DataError, match=r"instances_train2017\.json is not valid JSON") as caught:
        open_dataset(root, "train")
    assert "\n" not in str(caught.value)


def test_json_may_come_without_ids_of_annotations(tmp_path: Path) -> None:
    def strip(content: dict[str, Any]) -> None:
        for annotation in content["annotations"]:
            del annotation["id"]

    assert len(open_dataset(write(tmp_path, strip), "train")) == 3
    assert json.loads((tmp_path / "annotations" / "instances_train2017.json").read_text())["annotations"]
