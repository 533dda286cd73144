from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lisa_core.data import IGNORE, ReasonSeg, open_dataset, reasonseg
from lisa_core.data.annotation import Annotation, read_annotation
from lisa_core.errors import DataError

SQUARE = {"label": "target", "points": [[2, 2], [8, 2], [8, 6], [2, 6]]}


def annotation(**changes: Any) -> dict[str, Any]:
    return {"text": ["the cat"], "is_sentence": False, "shapes": [SQUARE]} | changes


def write(
    folder: Path, stem: str, content: Any = None, *, suffix: str = ".jpg", size: tuple[int, int] = (16, 10)
) -> Path:
    """Write a pair; `content` is JSON-able or raw bytes. Returns the annotation's path."""
    folder.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (10, 200, 30)).save(folder / f"{stem}{suffix}")
    path = folder / f"{stem}.json"
    content = annotation() if content is None else content
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return path


def test_pairs_of_any_case_are_read_sorted_with_every_phrasing(tmp_path: Path) -> None:
    write(tmp_path / "train", "b", annotation(text=["one", "two"], is_sentence=True), suffix=".PNG")
    write(tmp_path / "train", "a", suffix=".JPeG")
    write(tmp_path / "train", "c", annotation(text="  a bare string "), suffix=".jpg")
    (tmp_path / "train" / "._b.json").write_bytes(b"\0 macOS")
    (tmp_path / "train" / "notes.txt").write_text("hello")
    data = ReasonSeg(tmp_path, "train")
    found = [(s.id, s.text, s.is_sentence, s.image_path.name) for s in data.samples]
    assert found == [
        ("a#0", "the cat", False, "a.JPeG"),
        ("b#0", "one", True, "b.PNG"),
        ("b#1", "two", True, "b.PNG"),
        ("c#0", "a bare string", False, "c.jpg"),
    ]
    assert [s.id for s in open_dataset(str(tmp_path), "train", "first").samples] == ["a#0", "b#0", "c#0"]
    assert len(data) == 4 and data.skipped == []


def test_load_gives_the_image_and_its_mask(tmp_path: Path) -> None:
    write(tmp_path / "val", "x")
    example = ReasonSeg(tmp_path, "val").load(0)
    expected = np.zeros((10, 16), dtype=np.uint8)
    expected[2:6, 2:8] = 1
    assert example.image.mode == "RGB" and example.image.size == (16, 10)
    assert example.mask.dtype == np.uint8 and np.array_equal(example.mask, expected)
    assert example.sample.text == "the cat"


def rectangle(label: str, x0: int, y0: int, x1: int, y1: int) -> dict[str, Any]:
    return {"label": label, "points": [[x0, y0], [x1, y0], [x1, y1], [x0, y1]]}


def test_phrasings_of_a_target_share_what_is_painted_for_a_picture(tmp_path: Path) -> None:
    path = write(tmp_path / "train", "a", annotation(text=["the cat", "a cat"]))
    write(tmp_path / "train", "b", annotation(shapes=[]))
    dataset = ReasonSeg(tmp_path, "train")
    first = dataset.load(0)
    assert dataset.load_beside(1, first.image).mask is first.mask and first.mask.sum() > 0
    assert not dataset.load_beside(2, first.image).mask.any()
    path.write_text(json.dumps(annotation(shapes=[])))
    assert dataset.load_beside(1, first.image).mask is first.mask
    assert not dataset.load_beside(1, first.image.copy()).mask.any(), "another picture, painted anew"


def test_smaller_polygons_lie_on_top_whatever_their_order(tmp_path: Path) -> None:
    shapes = [
        rectangle("ignore_small", 4, 4, 6, 6),
        rectangle("Target", 0, 0, 10, 8),
        rectangle("Flag", 0, 0, 16, 10),
        rectangle("ignore", 0, 0, 16, 9),
        rectangle("target", 5, 5, 6, 6),
    ]
    expected = np.zeros((10, 16), dtype=np.uint8)
    expected[:9] = IGNORE
    expected[:8, :10] = 1
    expected[4:6, 4:6] = IGNORE
    expected[5, 5] = 1
    for turn in range(len(shapes)):
        write(tmp_path / "train", "x", annotation(shapes=shapes[turn:] + shapes[:turn]))
        assert np.array_equal(ReasonSeg(tmp_path, "train").load(0).mask, expected)


def test_size_is_counted_inside_the_image(tmp_path: Path) -> None:
    huge_but_outside = rectangle("ignore", 6, 0, 900, 4)  # 10 x 4 pixels of it are inside
    write(tmp_path / "train", "x", annotation(shapes=[rectangle("target", 0, 0, 8, 8), huge_but_outside]))
    mask = ReasonSeg(tmp_path, "train").load(0).mask
    assert mask[0, 7] == IGNORE and mask[0, 5] == 1


def test_ignore_in_a_label_outranks_flag(tmp_path: Path) -> None:
    shapes = [rectangle("target", 0, 0, 8, 8), rectangle("ignore_flag", 0, 0, 2, 2), rectangle("flag", 4, 4, 6, 6)]
    write(tmp_path / "train", "x", annotation(shapes=shapes))
    mask = ReasonSeg(tmp_path, "train").load(0).mask
    assert mask[1, 1] == IGNORE and mask[5, 5] == 1


def test_no_polygon_or_one_outside_is_an_empty_mask(tmp_path: Path) -> None:
    write(tmp_path / "train", "a", annotation(shapes=[]))
    write(tmp_path / "train", "b", annotation(shapes=[rectangle("target", -9, -9, -1, -1)]))
    data = ReasonSeg(tmp_path, "train")
    assert not data.load(0).mask.any() and not data.load(1).mask.any()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252"])
def test_encodings(tmp_path: Path, encoding: str) -> None:
    text = "le café “au lait”"
    write(tmp_path / "train", "x", json.dumps(annotation(text=[text]), ensure_ascii=False).encode(encoding))
    assert ReasonSeg(tmp_path, "train").samples[0].text == text


def flat(tmp_path: Path, entries: Any, split: str = "train") -> None:
    (tmp_path / f"{split}.json").write_text(json.dumps(entries))


def test_flat_layout_resolves_below_the_root_or_the_split(tmp_path: Path) -> None:
    write(tmp_path / "pictures", "p", annotation(text=["own text", "second"]))
    write(tmp_path / "train" / "deep", "q", annotation(text=[], is_sentence=True))
    flat(
        tmp_path,
        [
            {"image": "pictures/p.jpg", "json": "pictures/p.json", "query": "from the list"},
            {"image": "deep/q.jpg", "json": "deep\\q.json", "query": "below the split"},
            {"image": "pictures/p.jpg", "json": "./pictures/../pictures/p.json", "query": "again"},
            {"image": "pictures/p.jpg", "json": "pictures/p.json"},
        ],
    )
    data = ReasonSeg(tmp_path, "train")
    assert [(s.id, s.text) for s in data.samples] == [
        ("p#0", "from the list"),
        ("p#1", "again"),
        ("p#2", "own text"),
        ("p#3", "second"),
        ("q#0", "below the split"),
    ]
    assert data.samples[-1].is_sentence and data.load(4).mask.sum() == 24
    assert len(ReasonSeg(tmp_path, "train", "first")) == 4


def test_the_folder_wins_over_the_list(tmp_path: Path) -> None:
    write(tmp_path / "train", "x")
    flat(tmp_path, [{"image": "train/x.jpg", "json": "train/x.json", "query": "from the list"}])
    assert [s.text for s in ReasonSeg(tmp_path, "train").samples] == ["the cat"]


@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../x.jpg", "a/../../x.jpg", "..\\x.jpg", "C:\\x.jpg", "..", "", "a\0b", 3, None]
)
def test_flat_paths_outside_of_the_dataset_are_refused(tmp_path: Path, name: object) -> None:
    write(tmp_path, "x")
    root = tmp_path / "root"
    write(root / "pictures", "x")
    flat(root, [{"image": name, "json": "pictures/x.json", "query": "q"}])
    with pytest.raises(DataError, match=r"train\.json: `image` of entry 0 (points outside|must be a file name)"):
        ReasonSeg(root, "train")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([], "empty list"),
        ({}, "must be a list"),
        (["x"], "entry 0 must be an object"),
        ([{"image": "none.jpg", "json": "p/x.json"}], "which is neither in"),
        ([{"image": "p/x.jpg", "json": "p/x.json", "query": " "}], "`query` of entry 0 must be a sentence"),
    ],
)
def test_bad_flat_lists(tmp_path: Path, entries: Any, message: str) -> None:
    write(tmp_path / "p", "x")
    flat(tmp_path, entries)
    with pytest.raises(DataError, match=message) as caught:
        ReasonSeg(tmp_path, "train")
    assert "train.json" in str(caught.value)


def test_explanatory_questions_are_added(tmp_path: Path) -> None:
    write(tmp_path / "train", "x")
    write(tmp_path / "train", "y")
    (tmp_path / "explanatory").mkdir()
    entries = [
        {"image": "x.jpg", "query": "Why?", "outputs": "Because."},
        {"image": "elsewhere.jpg", "query": "Who?", "outputs": "Nobody."},
        {"image": "train/x.jpg", "query": "How?", "outputs": "So."},
    ]
    (tmp_path / "explanatory" / "train.json").write_text(json.dumps(entries))
    data = ReasonSeg(tmp_path, "train")
    extra = [(s.id, s.text, s.answer, s.is_sentence) for s in data.samples if s.answer]
    assert extra == [("x#e0", "Why?", "Because.", True), ("x#e1", "How?", "So.", True)]
    assert len(data) == 4 and data.load(3).mask.sum() == 24
    assert len(ReasonSeg(tmp_path, "train", "first")) == 2


@pytest.mark.parametrize("content", ["{}", "[3]", "[", '[{"image": "x.jpg", "query": "Why?"}]'])
def test_a_bad_explanatory_list_is_named(tmp_path: Path, content: str) -> None:
    write(tmp_path / "train", "x")
    (tmp_path / "explanatory").mkdir()
    (tmp_path / "explanatory" / "train.json").write_text(content)
    with pytest.raises(DataError, match=r"explanatory.train\.json"):
        ReasonSeg(tmp_path, "train")
    lenient = ReasonSeg(tmp_path, "train", on_error="skip")
    assert len(lenient) == 1 and lenient.skipped[0][0].name == "train.json"


BAD = {
    "no_shapes": ({"text": ["a"], "is_sentence": False}, "has no `shapes`"),
    "two_points": (annotation(shapes=[{"label": "target", "points": [[1, 1], [2, 2]]}]), "has 2 points"),
    "no_points": (annotation(shapes=[{"label": "target"}]), "has 0 points"),
    "not_a_number": (annotation(shapes=[{"label": "target", "points": [[1, 1], [2, 2], [float("nan"), 3]]}]), "finite"),
    "infinite": (annotation(shapes=[{"label": "target", "points": [[1, 1], [2, 2], [float("inf"), 3]]}]), "finite"),
    "strings": (annotation(shapes=[{"label": "target", "points": [[1, 1], [2, 2], ["4", 3]]}]), "finite"),
    "three_numbers": (annotation(shapes=[{"label": "target", "points": [[1, 1, 1]] * 3}]), r"\[x, y\]"),
    "shapes_not_a_list": (annotation(shapes={"a": 1}), "`shapes` must be a list"),
    "shape_not_an_object": (annotation(shapes=[3]), "shape 0 must be an object"),
    "unknown_label": (annotation(shapes=[SQUARE, SQUARE | {"label": "cat"}]), "unknown label 'cat'"),
    "blank_text": (annotation(text=["a", "  "]), "text 1 must be a sentence"),
    "no_text": (annotation(text=[]), "at least one sentence"),
    "number_text": (annotation(text=3), "at least one sentence"),
    "half_character": (b'{"text": ["\\ud800"], "shapes": []}', "broken character"),
    "odd_flag": (annotation(is_sentence="yes"), "`is_sentence` must be"),
    "a_list": ([1], "must hold an object"),
    "broken_json": (b'{"text": ["a"', "is not valid JSON"),
    "empty_file": (b"", "is not valid JSON"),
    "too_deep": (b"[" * 200_000, "is not valid JSON"),
    "binary": (b"\x81\x8d\x8f", "neither UTF-8 nor cp1252"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_annotation_is_one_line_that_names_it_or_is_skipped(tmp_path: Path, case: str) -> None:
    content, message = BAD[case]
    write(tmp_path / "train", "good")
    path = write(tmp_path / "train", case, content)
    with pytest.raises(DataError, match=message) as caught:
        ReasonSeg(tmp_path, "train")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    lenient = ReasonSeg(tmp_path, "train", on_error="skip")
    assert [s.id for s in lenient.samples] == ["good#0"]
    assert lenient.skipped == [(path, str(caught.value))]


def test_lonely_and_doubled_files_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    write(folder, "good")
    write(folder, "lonely").unlink()
    with pytest.raises(DataError, match=r"lonely\.jpg has no lonely\.json"):
        ReasonSeg(tmp_path, "train")
    write(folder, "lonely")
    (folder / "lonely.jpg").unlink()
    with pytest.raises(DataError, match=r"lonely\.json has no image"):
        ReasonSeg(tmp_path, "train")
    write(folder, "lonely", suffix=".png")
    write(folder, "lonely", suffix=".jpg")
    with pytest.raises(DataError, match="more than one file called 'lonely'"):
        ReasonSeg(tmp_path, "train")
    assert len(ReasonSeg(tmp_path, "train", on_error="skip")) == 1


def test_missing_and_empty_folders(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        ReasonSeg(tmp_path / "nowhere", "train")
    with pytest.raises(DataError, match="has no split 'test'"):
        ReasonSeg(tmp_path, "test")
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match="train holds no annotated image"):
        ReasonSeg(tmp_path, "train", on_error="skip")
    write(tmp_path / "train", "x", b"{")
    with pytest.raises(DataError, match="no usable sample in split 'train'"):
        ReasonSeg(tmp_path, "train", on_error="skip")


def test_outlines_are_read_once_and_painted_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ignored = {"label": "ignore", "points": [[4, 0], [14, 0], [14, 9], [4, 9]]}
    path = write(tmp_path / "train", "x", annotation(text=["one", "two"], shapes=[SQUARE, ignored]))
    data = ReasonSeg(tmp_path, "train")
    reads: list[Path] = []

    def read(path: Path, **how: Any) -> Annotation:
        reads.append(path)
        return read_annotation(path, **how)

    monkeypatch.setattr(reasonseg, "read_annotation", read)
    masks = [data.load(index).mask for index in (0, 0, 1)]
    assert reads == [path]
    assert all(np.array_equal(mask, masks[0]) for mask in masks) and sorted(np.unique(masks[0])) == [0, 1, IGNORE]


def test_an_annotation_that_went_away_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "train", "x")
    data = ReasonSeg(tmp_path, "train")
    data.load(0)
    path.unlink()
    with pytest.raises(DataError, match=r"x\.json cannot be read: .*; restore the file") as caught:
        data.load(0)
    assert caught.value.kind == "missing-file"


def test_a_corrupt_image_is_found_by_load(tmp_path: Path) -> None:
    write(tmp_path / "train", "x")
    (tmp_path / "train" / "x.jpg").write_bytes(b"not an image")
    data = ReasonSeg(tmp_path, "train")
    with pytest.raises(DataError, match=r"x\.jpg is not an image"):
        data.load(0)


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["label", "points", "text"]), inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({}, optional={"text": json_values, "shapes": json_values, "is_sentence": json_values}))
def test_any_json_is_read_or_a_one_line_error(tmp_path: Path, content: dict[str, Any]) -> None:
    path = write(tmp_path / "train", "x", json.dumps(content).encode())
    try:
        data = ReasonSeg(tmp_path, "train")
        assert set(np.unique(data.load(0).mask)) <= {0, 1, IGNORE}
    except DataError as error:
        assert str(path) in str(error) and "\n" not in str(error)
