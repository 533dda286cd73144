"""Label maps: the draw of classes, the classes' names, and lines for pairs that do not fit."""

from __future__ import annotations

from pathlib import Path

import builders
import numpy as np
import pytest
from PIL import Image

from lisa_core.data import open_dataset
from lisa_core.errors import DataError


def test_a_picture_s_samples_are_different_classes_in_every_run(tmp_path: Path) -> None:
    builders.write_ade20k(tmp_path)
    values = np.arange(24, dtype=np.uint8)[None].repeat(18, 0) % 5
    builders.save_map(values, tmp_path / "annotations" / "training" / "two.png")
    draws = []
    for _ in range(2):
        data = open_dataset(tmp_path, "train")
        draws.append([data.load(n).sample.text for n, s in enumerate(data.samples) if s.image_path.stem == "two"])
    assert draws[0] == draws[1] and len(set(draws[0])) == 3
    assert open_dataset(tmp_path, "train", "first").load(1).sample.text == draws[0][0]


def test_the_draw_differs_between_pictures(tmp_path: Path) -> None:
    builders.write_ade20k(tmp_path)
    values = np.arange(24, dtype=np.uint8)[None].repeat(18, 0) % 5
    for number in range(20):
        Image.new("RGB", (24, 18)).save(tmp_path / "images" / "training" / f"n{number}.jpg")
        builders.save_map(values, tmp_path / "annotations" / "training" / f"n{number}.png")
    data = open_dataset(tmp_path, "train", "first")
    assert {data.load(n).sample.text for n in range(20)} == {"cat", "dog", "frame", "kite"}


def test_a_map_without_a_class_is_named(tmp_path: Path) -> None:
    builders.write_ade20k(tmp_path)
    builders.save_map(np.zeros((18, 24), np.uint8), tmp_path / "annotations" / "training" / "two.png")
    data = open_dataset(tmp_path, "train", "first")
    with pytest.raises(DataError, match=r"two\.png holds none of the classes"):
        data.load(1)


def test_lonely_pictures_and_maps_are_named_or_skipped(tmp_path: Path) -> None:
    builders.write_mapillary(tmp_path)
    (tmp_path / "training" / "v2.0" / "labels" / "two.png").rename(
        tmp_path / "training" / "v2.0" / "labels" / "three.png"
    )
    with pytest.raises(DataError, match=r"two\.jpg has no label map .*two\.png"):
        open_dataset(tmp_path, "train")
    lenient = open_dataset(tmp_path, "train", on_error="skip")
    assert len(lenient) == 3 and sorted(path.name for path, _ in lenient.skipped) == ["three.png", "two.jpg"]


def test_mapillary_s_older_version(tmp_path: Path) -> None:
    builders.write_mapillary(tmp_path)
    (tmp_path / "config_v2.0.json").rename(tmp_path / "config_v1.2.json")
    for labels in list(tmp_path.glob("*/v2.0")):
        labels.rename(labels.with_name("v1.2"))
    assert open_dataset(tmp_path, "val").load(0).sample.text in ("dog", "frame")


@pytest.mark.parametrize(
    ("write", "name", "content", "line"),
    [
        (builders.write_ade20k, "objectInfo150.txt", "nothing", "has no line of index, tab"),
        (builders.write_ade20k, "objectInfo150.txt", "1\t ", "the name in line 1 must be"),
        (builders.write_cocostuff, "labels.txt", "0: unlabeled", "has no line such as"),
        (builders.write_cocostuff, "labels.txt", "1:", "the name in line 1 must be"),
        (builders.write_mapillary, "config_v2.0.json", "{}", "has no list `labels`"),
        (builders.write_mapillary, "config_v2.0.json", '{"labels": [{}]}', "`readable` of label 0 must be"),
        (builders.write_mapillary, "config_v2.0.json", "[" * 10_000, "is not valid JSON"),
    ],
)
def test_lists_of_classes_that_say_nothing_are_one_line(tmp_path: Path, write, name, content, line) -> None:
    write(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=line) as caught:
        open_dataset(tmp_path, "train")
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_names_of_coco_stuff_read_as_english(tmp_path: Path) -> None:
    builders.write_cocostuff(tmp_path)
    lines = ["0: unlabeled", "1: wall-brick", "2: ceiling-other", "3: food-stuff", "4: traffic light"]
    (tmp_path / "labels.txt").write_text("\n".join(lines))
    names = open_dataset(tmp_path, "train").classes()  # type: ignore[attr-defined]
    assert names == {0: "brick wall", 1: "ceiling", 2: "food", 3: "traffic light"}
