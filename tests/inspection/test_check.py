"""Every planted fault is found, and nothing else; what strangers may put into a folder stops nothing."""

from __future__ import annotations

import functools
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import builders
import faulty
import pytest
from PIL import Image

from lisa_core.data.synth import SynthConfig, synthesize
from lisa_core.errors import DataError
from lisa_core.inspection import KINDS, CheckResult, check_dataset

WRITERS: dict[str, Callable[..., None]] = {
    "coco": builders.write_coco,
    "roboflow": builders.write_roboflow,
    "paco": builders.write_paco,
    "pascal-part": builders.write_pascal_part,
    "labelme": builders.write_labelme,
    "labelme flat": functools.partial(builders.write_labelme, flat=True),
    "ade20k": builders.write_ade20k,
    "cocostuff": builders.write_cocostuff,
    "mapillary": builders.write_mapillary,
    "jsonl": builders.write_jsonl,
    "jsonl in one file": functools.partial(builders.write_jsonl, one_file=True),
    "jsonl without splits": functools.partial(builders.write_jsonl, one_file=True, marked=False),
    "refer": builders.write_refer,
    "refclef": functools.partial(builders.write_refer, run_lengths=True, test_marks=("testAB", "testC")),
    "refcocog": functools.partial(builders.write_refer, partitions=("umd", "google"), test_marks=("test", "test")),
    "grefcoco": builders.write_grefcoco,
    "sa2va": builders.write_sa2va,
}


def made(tmp_path: Path, write: Callable[..., None]) -> Path:
    root = tmp_path / "a" / "b" / "set"
    root.mkdir(parents=True)
    write(root)
    return root


def kinds(result: CheckResult) -> list[str]:
    return [fault.kind for fault in result.faults]


@pytest.mark.parametrize("case", WRITERS)
def test_published_layouts_have_no_fault_and_all_their_splits(tmp_path: Path, case: str) -> None:
    result = check_dataset(made(tmp_path, WRITERS[case]))
    assert [fault.message for fault in result.faults] == []
    expected = {
        "refer": ["train", "val", "testA", "testB"],
        "refclef": ["train", "val", "testA", "testB", "testC"],
        "grefcoco": ["train", "val", "testA"],
        "jsonl without splits": ["train", "val"],
        "labelme flat": ["train"],  # a tenth of five pictures is none
        "sa2va": ["train", "val"],
    }
    if case != "labelme flat":
        assert list(result.splits) == expected.get(case, ["train", "val", "test"])
    assert all(counts["samples"] > 0 for counts in result.splits.values())


@pytest.mark.parametrize("workers", [0, 2])
def test_all_planted_faults_are_found_and_none_else(tmp_path: Path, workers: int) -> None:
    planted = faulty.write(tmp_path / "set", 600, 40)
    seen: list[tuple[str, int, int]] = []
    result = check_dataset(tmp_path / "set", workers=workers, progress=lambda *told: seen.append(told))
    assert result.counts == planted and sum(planted.values()) == 50 and len(planted) == 12
    assert all(Path(fault.path).exists() and "\n" not in fault.message for fault in result.faults)
    totals = {split: counts["samples"] for split, counts in result.splits.items()}
    assert seen[-1] == ("val", totals["val"], totals["val"]) and ("train", totals["train"], totals["train"]) in seen


def test_faults_are_of_the_samples_they_spoil(tmp_path: Path) -> None:
    builders.write_coco(tmp_path)
    picture = tmp_path / "train2017" / "Straße mit Café 1.jpg"
    picture.write_bytes(picture.read_bytes()[:200])
    (fault,) = check_dataset(tmp_path).faults
    assert fault.kind == "corrupt-image" and fault.path.endswith("instances_train2017.json")
    assert fault.samples == ["Straße mit Café 1#dog", "Straße mit Café 1#frame"] and fault.split == "train"
    picture.unlink()
    (fault,) = check_dataset(tmp_path).faults
    assert fault.kind == "missing-file" and "Straße mit Café 1.jpg" in fault.message


def test_a_split_without_one_good_sample_still_tells_of_each(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    good = {"image": "a.png", "text": "x", "box": [1, 1, 2, 2]}
    (tmp_path / "train.jsonl").write_text(json.dumps(good) + "\n")
    bad = [{**good, "text": ""}, {**good, "box": [1, 1, 0, 0]}, {**good, "image": "b.png"}]
    (tmp_path / "val.jsonl").write_text("\n".join(map(json.dumps, bad)) + "\n")
    result = check_dataset(tmp_path)
    assert kinds(result) == ["missing-file", "polygon", "text"]
    assert result.splits == {"train": {"samples": 1, "pictures": 1}, "val": {"samples": 0, "pictures": 0}}
    with pytest.raises(DataError, match="no split 'test'"):
        check_dataset(tmp_path, splits=["test"])
    assert check_dataset(tmp_path, splits=["train"]).faults == []
    assert kinds(check_dataset(tmp_path, ignore=["text", "polygon"])) == ["missing-file"]


class Evil:
    """Runs a program when it is unpickled."""

    def __init__(self, flag: Path) -> None:
        self.flag = flag

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.flag),)


@pytest.mark.parametrize("name", ["refs(unc).p", "refs(google).p", "notes.pkl"])
def test_a_pickle_with_a_program_is_named_and_not_run(tmp_path: Path, name: str) -> None:
    root = made(tmp_path, builders.write_refer)
    flag = tmp_path / "ran"
    (root / name).write_bytes(pickle.dumps([{"split": "train", "evil": Evil(flag)}], protocol=2))
    for format in ("auto", "refcoco"):
        result = check_dataset(root, format)
        assert kinds(result) == ["pickle"] and not flag.exists()
        assert name in result.faults[0].message and "mkdir, a program and not data" in result.faults[0].message
        read = sum(counts["samples"] for counts in result.splits.values())
        assert (read == 0) == (name == "refs(unc).p")


def test_what_strangers_may_put_into_a_reasonseg_folder(tmp_path: Path) -> None:
    root = tmp_path / "set"
    synthesize(root, SynthConfig(train=6, val=2, test=0, size=64))
    annotations = sorted((root / "train").glob("*.json"))
    assert len(annotations) >= 8

    def change(number: int, **more: Any) -> None:
        content = json.loads(annotations[number].read_text())
        annotations[number].write_text(json.dumps(content | more))

    nan = [{"label": "target", "points": [[1, 1], [9, 1], [9, float("nan")]]}]
    change(0, shapes=nan)
    annotations[1].write_text('{"text": ["x"], "shapes": ' + "[" * 10_000 + "]" * 10_000 + "}")
    annotations[2].with_suffix(".jpg").write_bytes(faulty.huge_png(60_000, 60_000))
    annotations[3].with_suffix(".jpg").write_bytes(faulty.bomb_png())
    change(4, text=["fine", "\t"])
    annotations[5].with_suffix(".jpg").unlink()
    change(6, shapes=[])  # says that there is nothing to be found
    (root / "train.json").write_text(json.dumps([{"image": "../../x.jpg", "json": "../x.json", "query": "y"}]))
    result = check_dataset(root)
    assert sorted(kinds(result)) == ["corrupt-image", "corrupt-image", "json", "missing-file", "polygon", "text"]
    named = " ".join(fault.message for fault in result.faults)
    assert all(annotations[number].stem in named for number in range(6))
    for path in (root / "train").iterdir():
        path.unlink()
    assert kinds(check_dataset(root)) == ["outside-path"]


def test_pictures_that_splits_share_are_told_by_their_pixels(tmp_path: Path) -> None:
    root = made(tmp_path, builders.write_refer)
    entries = json.loads((root / "instances.json").read_text())["images"]
    folder = root / "../images/mscoco/images/train2014"
    train, val, test = (folder / entries[number]["file_name"] for number in (1, 2, 3))
    shutil.copy(train, val)
    with Image.open(train) as image:
        image.save(test.with_suffix(".png"))  # JPEG saved again would be other pixels
    test.with_suffix(".png").rename(test)
    result = check_dataset(root)
    assert kinds(result) == ["leak", "leak"]
    assert "is a copy of" in result.faults[0].message and "(val)" in result.faults[0].message
    assert "has the same pixels as" in result.faults[1].message and "(testA)" in result.faults[1].message
    assert all(str(train.name) in fault.message for fault in result.faults)
    assert check_dataset(root, splits=["train", "testB"]).faults == []


def test_each_of_many_copies_is_named_once(tmp_path: Path) -> None:
    for number in range(8):
        Image.new("RGB", (8, 8)).save(tmp_path / f"{number}.png")
    for split, numbers in (("train", range(4)), ("val", range(4, 8))):
        lines = [{"image": f"{number}.png", "text": "x", "box": [1, 1, 2, 2]} for number in numbers]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    faults = check_dataset(tmp_path).faults
    assert {fault.kind for fault in faults} == {"leak"} and len(faults) == 7
    assert all(any(f"{number}.png" in fault.message for fault in faults) for number in range(8))


def test_ids_that_coco_gives_twice(tmp_path: Path) -> None:
    builders.write_coco(tmp_path)
    path = tmp_path / "annotations" / "instances_train2017.json"
    content = json.loads(path.read_text())
    content["annotations"][1]["id"] = content["annotations"][0]["id"]
    path.write_text(json.dumps(content))
    result = check_dataset(tmp_path)
    assert kinds(result) == ["duplicate-id"] and "several annotations have the id 500" in result.faults[0].message
    content["annotations"][1]["id"] = 9999
    content["images"][1]["id"] = content["images"][0]["id"]
    path.write_text(json.dumps(content))
    lines = [fault.message for fault in check_dataset(tmp_path).faults]
    assert any("several pictures have the id 1000" in line for line in lines)
    assert check_dataset(tmp_path, splits=["val"]).faults == []


def test_references_to_an_object_of_two_are_faults(tmp_path: Path) -> None:
    root = made(tmp_path, builders.write_refer)
    content = json.loads((root / "instances.json").read_text())
    content["annotations"][1]["id"] = content["annotations"][0]["id"]
    (root / "instances.json").write_text(json.dumps(content))
    result = check_dataset(root)
    assert set(kinds(result)) <= {"duplicate-id", "annotation"} and "duplicate-id" in kinds(result)


def test_a_reader_that_fails_is_a_line_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    builders.write_sa2va(tmp_path)
    monkeypatch.setattr("lisa_core.data.sa2va.paint_segmentation", lambda *args: 1 / 0)
    result = check_dataset(tmp_path)
    assert set(kinds(result)) == {"reader"} and "ZeroDivisionError" in result.faults[0].message


def test_a_folder_that_is_no_dataset_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        check_dataset(tmp_path / "absent")
    with pytest.raises(DataError, match="no known format"):
        check_dataset(tmp_path)
    with pytest.raises(DataError, match="no split"):
        check_dataset(tmp_path, "coco")


def test_every_kind_is_explained_in_the_docs() -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text()
    assert all(f"| `{kind}` |" in page for kind in KINDS)


MEASURE = """
import resource, sys
from pathlib import Path
from lisa_core.inspection import check_dataset
result = check_dataset(Path(sys.argv[1]))
print(len(result.faults), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_memory_stays_flat(tmp_path: Path) -> None:
    """Twenty times the samples, with outlines of two hundred corners, may take 30 MB more; it is about 10."""
    peaks = []
    for samples in (1_000, 20_000):
        root = tmp_path / str(samples)
        faulty.write(root, samples, 20, faults=20)
        outline = [value for k in range(200) for value in (5 + k % 20, 10 + k / 10)]
        with (root / "train.jsonl").open("a") as file:
            for number in range(samples):
                entry = {"image": "images/train_1.png", "text": "much", "id": f"p{number}", "polygons": [outline]}
                file.write(json.dumps(entry) + "\n")
        found = subprocess.run([sys.executable, "-c", MEASURE, root], capture_output=True, text=True, check=True)
        faults, peak = map(int, found.stdout.split())
        assert faults == 20
        peaks.append(peak)
    assert peaks[1] - peaks[0] < 30
