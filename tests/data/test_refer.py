"""The REFER layout, read back exactly; gRefCOCO's several targets and none."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest
from builders import HEIGHT, WIDTH, of, scenes

from lisa_core.data import Example, open_dataset
from lisa_core.data.refer import Refer
from lisa_core.errors import DataError

SETS: dict[str, dict[str, Any]] = {
    "refcoco": {},
    "refcoco+": {"partitions": ("unc",), "protocol": 0},
    "refcocog": {"partitions": ("google", "umd"), "test_marks": ("test", "test")},
    "refclef": {"test_marks": ("testA", "testBC"), "pictures": "../images/saiapr_tc-12", "run_lengths": True},
}


def build(tmp_path: Path, name: str = "refcoco", **more: Any) -> Path:
    root = tmp_path / "refer seg" / name
    root.mkdir(parents=True)
    builders.write_refer(root, **(SETS[name] | more))
    return root


def pairs(root: Path, split: str, **more: Any) -> dict[tuple[str, str], Example]:
    dataset = open_dataset(root, split, **more)
    assert dataset.skipped == []
    examples = [dataset.load(index) for index in range(len(dataset))]
    return {(example.sample.image_path.stem, example.sample.text): example for example in examples}


@pytest.mark.parametrize("style", ["utf-8", "utf-8-sig", "cp1252"])
@pytest.mark.parametrize("name", SETS)
def test_every_split_is_read_back_exactly(tmp_path: Path, name: str, style: str) -> None:
    root = build(tmp_path, name, style=style)
    assert type(open_dataset(root, "train")) is Refer
    for split in ("train", "val", "test"):
        found = pairs(root, split)
        expected = {(s.name, text): thing.mask for s in of(split) for thing in s.things for text in thing.texts}
        assert found.keys() == expected.keys()
        for key, example in found.items():
            assert np.array_equal(example.mask, expected[key]), key
            assert (example.sample.source, example.sample.is_sentence) == ("refer", False)
    assert len(open_dataset(root, "train", "first")) == 4 and len(open_dataset(root, "train")) == 6


def test_test_splits_may_be_marked_together(tmp_path: Path) -> None:
    root = build(tmp_path, "refclef")
    names = {split: {name for name, _ in pairs(root, split)} for split in ("testA", "testB", "testC")}
    assert names == {"testA": {"four"}, "testB": {"five"}, "testC": {"five"}}


def test_of_several_partitions_one_is_chosen(tmp_path: Path) -> None:
    root = build(tmp_path, "refcocog")
    for partition, mark in (("google", "by google"), ("umd", "by umd"), ("unc", "by unc")):
        refs = pickle.loads((root / "refs(umd).p").read_bytes())
        for ref in refs:
            ref["sentences"] = [{"sent": mark, "raw": mark}]
        (root / f"refs({partition}).p").write_bytes(pickle.dumps(refs, protocol=2))
        assert {text for _, text in pairs(root, "train", format=f"refer-{partition}")} == {mark}
        assert {text for _, text in pairs(root, "train")} != {"by google"}
    assert {text for _, text in pairs(root, "train")} == {"by unc"}
    (root / "refs(unc).p").unlink()
    assert {text for _, text in pairs(root, "train")} == {"by umd"}
    with pytest.raises(DataError, match=r"no refs\(unc\)\.p: it has refs\(google\)\.p, refs\(umd\)\.p"):
        open_dataset(root, "train", format="refer-unc")


def test_pictures_may_lie_in_the_folder_itself(tmp_path: Path) -> None:
    root = build(tmp_path, pictures="train2014")
    assert len(pairs(root, "train")) == 6


def test_an_unknown_split_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'testC': it has testA, testB, train, val"):
        open_dataset(build(tmp_path), "testC")


def test_a_malicious_pickle_runs_nothing_and_is_named(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch '{tmp_path}/was_here'",)

    root = build(tmp_path)
    (root / "refs(unc).p").write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(DataError, match=r"refs\(unc\)\.p asks for posix\.system, a program and not data"):
        open_dataset(root, "train", on_error="skip")
    assert not (tmp_path / "was_here").exists()


REF = {
    "not a list": (lambda refs: {"refs": refs}, "must hold a list of references"),
    "no split": (lambda refs: [refs[0] | {"split": None}], "reference 0 has the split null"),
    "no such object": (lambda refs: [refs[0] | {"ann_id": 9}], "reference 0 means object 9, which is not in"),
    "a list for an object": (lambda refs: [refs[0] | {"ann_id": [500]}], "reference 0 means object \\[500\\]"),
    "another picture": (lambda refs: [refs[0] | {"image_id": 1001}], "is of image 1001, .* do not belong together"),
    "a list for a picture": (lambda refs: [refs[0] | {"image_id": [1]}], "do not belong together"),
    "no sentences": (lambda refs: [refs[0] | {"sentences": []}], "reference 0 has no sentences"),
    "blank": (lambda refs: [refs[0] | {"sentences": [{"sent": " "}]}], "sentence 0 of reference 0 must be a sentence"),
    "no dict": (lambda refs: [refs[0] | {"sentences": ["x"]}], "sentence 0 of reference 0 must be a sentence"),
}


@pytest.mark.parametrize("case", REF)
def test_references_that_cannot_be_meant_are_one_line(tmp_path: Path, case: str) -> None:
    root = build(tmp_path)
    change, line = REF[case]
    path = root / "refs(unc).p"
    refs = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps(change(refs)))
    with pytest.raises(DataError, match=line) as caught:
        open_dataset(root, "train")
    assert "refs(unc).p" in str(caught.value) and "\n" not in str(caught.value)
    if case != "not a list":
        path.write_bytes(pickle.dumps([*change(refs), *refs[1:]]))
        lenient = open_dataset(root, "train", on_error="skip")
        assert len(lenient) == 4 and [line for _, line in lenient.skipped] == [str(caught.value)]


def change_instances(root: Path, **more: Any) -> None:
    content = builders.json.loads((root / "instances.json").read_text(encoding="utf-8"))
    for key, value in more.items():
        if key in content["images"][0]:
            content["images"][0][key] = value
        else:
            content["annotations"][0][key] = value
    builders.write_json(root / "instances.json", content, "ascii")


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"segmentation": [[1, 1, 2, 2, 3, float("inf")]]}, "annotation 500 has a polygon .* not finite"),
        ({"segmentation": [[1, 1, 2, 2, float("nan"), 3]]}, "annotation 500 has a polygon .* not finite"),
        ({"segmentation": []}, "annotation 500 has no outline"),
        ({"segmentation": [{"size": [HEIGHT, WIDTH], "counts": [3]}]}, "annotation 500 has run lengths"),
        ({"width": 99}, r"is 24 x 18 pixels, the file says 99 x 18"),
    ],
)
def test_outlines_that_cannot_be_painted_are_one_line(tmp_path: Path, more: dict[str, Any], line: str) -> None:
    root = build(tmp_path)
    change_instances(root, **more)
    dataset = open_dataset(root, "train")
    with pytest.raises(DataError, match=line) as caught:
        dataset.load(0)
    assert "instances.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["/etc/passwd", "../../../x.jpg", "..\\x.jpg", "C:\\x.jpg", "", None, 3, "a\0b"])
def test_a_picture_outside_is_refused(tmp_path: Path, name: object) -> None:
    root = build(tmp_path)
    (tmp_path / "x.jpg").write_bytes(b"secret")
    change_instances(root, file_name=name)
    with pytest.raises(DataError, match=r"image 1000 (points outside|must be a file name)"):
        open_dataset(root, "train")


@pytest.mark.parametrize("pickled", [False, True])
@pytest.mark.parametrize("style", ["utf-8", "utf-8-sig", "cp1252"])
def test_grefcoco_has_unions_and_nothing(tmp_path: Path, style: str, pickled: bool) -> None:
    root = tmp_path / "refer_seg" / "grefcoco"
    root.mkdir(parents=True)
    builders.write_grefcoco(root, style, pickled)
    for split, marks in (("train", "train"), ("val", "val"), ("testA", "test")):
        dataset = open_dataset(root, split)
        assert len(dataset) == 3 * len(of(marks))
        by_name = {scene.name: scene for scene in scenes()}
        for index, sample in enumerate(dataset.samples):
            things = {"everything": 9, "first": 1, "the unicorn": 0}[sample.text]
            masks = [thing.mask for thing in by_name[sample.image_path.stem].things][:things]
            union = np.logical_or.reduce([np.zeros((HEIGHT, WIDTH), bool), *masks])
            assert np.array_equal(dataset.load(index).mask, union)
            assert sample.no_target is (things == 0) and sample.source == "grefcoco"
            objects = dataset.load(index).instances
            assert objects is not None and all(map(np.array_equal, objects, masks)) and len(objects) == len(masks)
    assert not any(sample.no_target for sample in open_dataset(build(tmp_path), "train").samples)


def test_an_empty_list_of_objects_is_no_way_to_say_nothing(tmp_path: Path) -> None:
    root = tmp_path / "grefcoco"
    root.mkdir()
    builders.write_grefcoco(root)
    path = root / "grefs(unc).json"
    refs = builders.json.loads(path.read_text(encoding="utf-8"))
    builders.write_json(path, [refs[0] | {"ann_id": []}], "ascii")
    with pytest.raises(DataError, match=r"reference 0 has an empty `ann_id`: it is \[-1\]"):
        open_dataset(root, "train")
