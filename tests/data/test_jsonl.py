"""Our own format: everything it can say, and a line for everything it cannot."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest
from builders import HEIGHT, WIDTH
from PIL import Image

from lisa_core.data import IGNORE, open_dataset
from lisa_core.errors import DataError

BOX = {"box": [2, 3, 10, 5]}


def write(root: Path, *entries: Any, name: str = "train.jsonl") -> Path:
    (root / "images").mkdir(parents=True, exist_ok=True)
    for stem in ("a", "b"):
        Image.new("RGB", (WIDTH, HEIGHT)).save(root / "images" / f"{stem}.png")
    lines = [entry if isinstance(entry, str) else json.dumps(entry) for entry in entries]
    (root / name).write_text("\n".join(lines) + "\n")
    return root


def line(**more: Any) -> dict[str, Any]:
    return {"image": "images/a.png", "text": "the cup"} | more


def test_what_a_line_can_say(tmp_path: Path) -> None:
    root = write(
        tmp_path,
        line(**BOX, answer="It holds tea.", id="cup", meta={"by": "me"}),
        line(polygons=[[[2, 3], [12, 3], [12, 8], [2, 8]], [20, 1, 22, 1, 22, 3, 20, 3]], text=["two", "Which two?"]),
        line(no_target=True, text="the unicorn", ignore=[BOX, {"polygons": [[0, 0, 2, 0, 2, 2, 0, 2]]}]),
        line(**BOX, is_sentence=True, ignore=BOX | {}),
    )
    data = open_dataset(root, "train")
    found = [(s.id, s.text, s.is_sentence, s.answer, s.no_target) for s in data.samples]
    assert found == [
        ("cup#0", "the cup", False, "It holds tea.", False),
        ("train_2#0", "two", False, None, False),
        ("train_2#1", "Which two?", True, None, False),
        ("train_3#0", "the unicorn", False, None, True),
        ("train_4#0", "the cup", True, None, False),
    ]
    box = np.zeros((HEIGHT, WIDTH), np.uint8)
    box[3:8, 2:12] = 1
    two = box.copy()
    two[1:3, 20:22] = 1
    nothing = box * IGNORE
    nothing[:2, :2] = IGNORE
    for index, expected in enumerate([box, two, two, nothing, box]):  # what is ignored never covers the target
        assert np.array_equal(data.load(index).mask, expected)


def test_line_ends_inside_of_sentences_are_no_line_ends(tmp_path: Path) -> None:
    root = write(tmp_path, json.dumps(line(text="one\u2028two", **BOX), ensure_ascii=False), "", "  ")
    assert [sample.text for sample in open_dataset(root, "train").samples] == ["one\u2028two"]


def test_a_file_without_splits_gives_a_tenth_of_the_pictures_to_val(tmp_path: Path) -> None:
    root = tmp_path / "set"
    builders.write_jsonl(root, one_file=True, marked=False)
    train, val = open_dataset(root, "train"), open_dataset(root, "val")
    pictures = [{sample.image_path for sample in data.samples} for data in (train, val)]
    assert len(pictures[0]) == 4 and len(pictures[1]) == 1 and not pictures[0] & pictures[1]
    assert len(train) + len(val) == 10
    assert [s.id for s in open_dataset(root, "val").samples] == [s.id for s in val.samples]
    with pytest.raises(DataError, match=r"no split 'test': write test\.jsonl, or `split` into the lines"):
        open_dataset(root, "test")


def test_splits_by_any_name(tmp_path: Path) -> None:
    root = write(tmp_path, line(**BOX, split="validation"), line(**BOX), name="all.jsonl")
    assert [s.id for s in open_dataset(root, "val").samples] == ["all_1#0"]
    assert [s.id for s in open_dataset(root, "train").samples] == ["all_2#0"]
    with pytest.raises(DataError, match="no line of the split 'test': it has train, validation"):
        open_dataset(root, "test")
    write(tmp_path, line(**BOX), name="more.jsonl")
    with pytest.raises(DataError, match=r"no train\.jsonl, and several files besides \(all\.jsonl, more\.jsonl\)"):
        open_dataset(root, "train")


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": ("{", "is not valid JSON"),
    "nested": ("[" * 10_000 + "]" * 10_000, "is not valid JSON"),
    "nested inside": ('{"image": ' + "[" * 10_000 + "]" * 10_000 + "}", "is not valid JSON"),
    "no object": ([1], "must be an object"),
    "no image": ({"text": "x"} | BOX, "`image` of line 1 must be a file name"),
    "image absent": (line(image="images/none.png", **BOX), "`image` of line 1 names 'images/none.png'"),
    "image outside": (line(image="../x.png", **BOX), "`image` of line 1 points outside"),
    "image absolute": (line(image="/etc/passwd", **BOX), "`image` of line 1 points outside"),
    "mask outside": (line(mask="../../x.png"), r"`mask` \(line 1\) points outside"),
    "mask absent": (line(mask="m.png"), r"`mask` \(line 1\) names 'm.png'"),
    "no text": ({"image": "images/a.png"} | BOX, "`text` must be a sentence"),
    "blank text": (line(text=["x", " "], **BOX), "`text` must be a sentence"),
    "no texts": (line(text=[], **BOX), "`text` is an empty list"),
    "no outline": (line(), "line 1 has no outline: give one of `mask`, `polygons`, `rle`, `box`"),
    "two outlines": (line(**BOX, mask="m.png"), "line 1 has mask and box: give one of"),
    "both": (line(**BOX, no_target=True), "has `no_target` and box"),
    "not finite": (line(polygons=[[0, 0, 1, 1, 2, float("nan")]]), "not finite"),
    "infinite": (line(polygons=[[0, 0, 1, 1, 2, float("inf")]]), "not finite"),
    "two points": (line(polygons=[[0, 0, 1, 1]]), "at least 3 points"),
    "no polygons": (line(polygons=[]), "`polygons` must be a list"),
    "no rle": (line(rle=[1]), "`rle` must be an object"),
    "bad box": (line(box=[1, 2, 3]), "has the box"),
    "typing error": (line(polygon=[[0, 0, 1, 1, 2, 2]]), 'unknown field "polygon": did you mean `polygons`'),
    "own field": (line(**BOX, xyz=3), 'unknown field "xyz": put notes of your own under `meta`'),
    "ignore": (line(**BOX, ignore=3), "`ignore` must be an object"),
    "ignore empty": (line(**BOX, ignore={}), "`ignore` has no outline"),
    "odd sentence": (line(**BOX, is_sentence="yes"), "`is_sentence` must be true or false"),
    "odd answer": (line(**BOX, answer=3), "`answer` must be a sentence"),
    "odd split": (line(**BOX, split=3), "`split` must be a name"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_line_is_named_or_skipped(tmp_path: Path, case: str) -> None:
    entry, message = BAD[case]
    root = write(tmp_path, entry, line(**BOX))
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(root, "train")
    assert "line 1" in str(caught.value) and "train.jsonl" in str(caught.value) and "\n" not in str(caught.value)
    lenient = open_dataset(root, "train", on_error="skip")
    assert [s.id for s in lenient.samples] == ["train_2#0"] and lenient.skipped[0][1] == str(caught.value)


def test_the_same_id_twice(tmp_path: Path) -> None:
    root = write(tmp_path, line(**BOX, id="x"), line(**BOX, id="x"))
    with pytest.raises(DataError, match="line 2: the id 'x' is that of line 1 too"):
        open_dataset(root, "train")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            {"rle": {"size": [3, 3], "counts": [9]}},
            r"line 1 has run lengths of size \[3, 3\], its picture is \[18, 24\]",
        ),
        ({"mask": "images/small.png"}, r"small\.png is 3 x 3 pixels, its picture 24 x 18"),
        ({"box": [0, 0, 5, 5], "ignore": {"rle": {"size": [18, 24], "counts": [1]}}}, "`ignore` has run lengths"),
    ],
)
def test_outlines_of_another_size_are_named_when_loaded(tmp_path: Path, more: dict[str, Any], message: str) -> None:
    root = write(tmp_path, line(**more))
    Image.new("L", (3, 3)).save(root / "images" / "small.png")
    with pytest.raises(DataError, match=message):
        open_dataset(root, "train").load(0)
