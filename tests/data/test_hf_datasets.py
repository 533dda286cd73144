"""Hugging Face datasets: ReasonSeg's parquet form, folders of save_to_disk, mapped columns, and masks of every kind."""

from __future__ import annotations

import builtins
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import HEIGHT, WIDTH, compressed, of
from PIL import Image

from lisa_core.data import group_by_image, open_dataset
from lisa_core.errors import DataError

datasets = pytest.importorskip("datasets")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library keeps lands in the test's folder, and nothing is asked of the hub."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_CACHE_HOME", str(tmp_path / "cache"))


def png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def rows(split: str) -> dict[str, list[Any]]:
    """ReasonSeg's columns: `mask` holds rows of booleans."""
    table: dict[str, list[Any]] = {name: [] for name in ("image", "text", "mask", "image_id", "ann_id")}
    for scene in of(split):
        for number, thing in enumerate(scene.things):
            table["image"].append({"bytes": png(scene.picture()), "path": None})
            table["text"].append(thing.texts[0])
            table["mask"].append(thing.mask.tolist())
            table["image_id"].append(scene.name)
            table["ann_id"].append(f"{scene.name}_{number}")
    return table | {"img_height": [HEIGHT] * len(table["text"]), "img_width": [WIDTH] * len(table["text"])}


FEATURES = {"image": datasets.Image(), "text": datasets.Value("string")}


def table(columns: dict[str, list[Any]], **features: Any) -> Any:
    made = datasets.Dataset.from_dict(columns)
    return made.cast_column("image", datasets.Image()) if "image" in columns else made


def write_parquet(root: Path, splits: tuple[str, ...] = ("train", "val", "test")) -> None:
    """`data/SPLIT-00000-of-00001.parquet`, as the hub has them."""
    (root / "data").mkdir(parents=True)
    for split in splits:
        name = {"val": "validation"}.get(split, split)
        table(rows(split)).to_parquet(root / "data" / f"{name}-00000-of-00001.parquet")


def check(source: str | Path, split: str, **more: Any) -> Any:
    data = open_dataset(source, split, **more)
    expected = {(s.name, thing.texts[0]): (thing.mask, s) for s in of(split) for thing in s.things}
    found = {}
    for index, sample in enumerate(data.samples):
        example = data.load(index)
        found[sample.image_path.name, sample.text] = None
        mask, scene = expected[sample.image_path.name, sample.text]
        assert np.array_equal(example.mask, mask) and example.mask.dtype == np.uint8
        assert np.array_equal(np.asarray(example.image), np.asarray(scene.picture()))
        assert sample.source == "hf" and sample.is_sentence is sample.text.endswith("?")
    assert found.keys() == expected.keys()
    return data


def test_parquet_is_read_back_exactly_in_every_split(tmp_path: Path) -> None:
    root = tmp_path / "größe 1" / "ReasonSeg"
    write_parquet(root)
    for split in ("train", "val", "test"):
        check(root, split)
    data = check(f"hf:{root}", "train")
    assert group_by_image(data.samples) == [[0, 1, 2], [3]]
    with pytest.raises(DataError, match="no split 'nosuch': it has train, validation, test"):
        open_dataset(root, "nosuch")


def test_saved_folders_are_read(tmp_path: Path) -> None:
    both = datasets.DatasetDict({"train": table(rows("train")), "val": table(rows("val"))})
    both.save_to_disk(tmp_path / "both")
    table(rows("train")).save_to_disk(tmp_path / "one")
    check(tmp_path / "both", "train")
    check(tmp_path / "both", "val")
    check(tmp_path / "one", "train")
    with pytest.raises(DataError, match="saved without splits, so it is train"):
        open_dataset(tmp_path / "one", "val")


def test_the_constructor_decodes_no_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_parquet(tmp_path / "set")
    monkeypatch.setattr("PIL.Image.open", lambda *args, **more: 1 / 0)
    assert len(open_dataset(tmp_path / "set", "train")) == 4


def save(root: Path, **columns: Any) -> str:
    """A saved set of one picture; the source that names it."""
    picture = {"bytes": png(Image.new("RGB", (WIDTH, HEIGHT))), "path": None}
    table({"image": [picture], "text": ["the cup"]} | {name: [value] for name, value in columns.items()}).save_to_disk(
        root
    )
    return f"hf:{root}"


def test_columns_may_be_called_otherwise(tmp_path: Path) -> None:
    square = np.zeros((HEIGHT, WIDTH), bool)
    square[2:5, 3:9] = True
    source = save(tmp_path / "set", label=square.tolist(), caption=["one", "two?"], say="It is.", long=True)
    data = open_dataset(f"{source}?text=caption&mask=label&answer=say&is_sentence=long", "train")
    assert [(s.text, s.answer, s.is_sentence) for s in data.samples] == [
        ("one", "It is.", True),
        ("two?", "It is.", True),
    ]
    assert np.array_equal(data.load(1).mask, square)
    assert len(open_dataset(f"{source}?text=caption&mask=label", "train", "first")) == 1
    for query, line in (
        ("", "no column 'mask' for the mask: it has image, text, label"),
        ("?mask=lab", "no column 'lab' for the mask"),
        ("?mask=label&answer=nowhere", "no column 'nowhere' for the answer"),
        ("?mask=label&txt=caption", "maps 'txt', which is no role of a column: did you mean text"),
    ):
        with pytest.raises(DataError, match=line) as caught:
            open_dataset(source + query, "train")
        assert "\n" not in str(caught.value)


def test_masks_of_every_kind(tmp_path: Path) -> None:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[2:5, 3:9] = True
    mask[3, 4] = False
    kinds = {
        "rows of numbers": (mask * 7).tolist(),
        "picture": {"bytes": png(Image.fromarray(mask.astype(np.uint8) * 255)), "path": None},
        "bytes": png(Image.fromarray(mask)),
        "run lengths": compressed(mask),
    }
    for kind, value in kinds.items():
        data = open_dataset(save(tmp_path / kind, mask=value), "train")
        assert np.array_equal(data.load(0).mask, mask), kind
    polygons = open_dataset(save(tmp_path / "polygons", mask=[[3.0, 2.0, 9.0, 2.0, 9.0, 5.0, 3.0, 5.0]]), "train")
    assert polygons.load(0).mask.sum() == 18


@pytest.mark.parametrize(
    ("mask", "line"),
    [
        ([[True, False]], "is 2 x 1 pixels, its picture 24 x 18"),
        ([[True, False], [True]], "rows of different lengths"),
        ([[1.0, 2.0, float("nan"), 4.0, 5.0, 6.0]], "not finite"),
        ({"size": [HEIGHT, WIDTH], "counts": "111"}, "do not add up"),
        ("a text", "has no outline"),
        (b"no picture", "is not an image"),
        ({"path": "/etc/passwd", "bytes": None}, "outside of the dataset"),
        ({"path": "../x.png", "bytes": None}, "outside of the dataset"),
    ],
)
def test_masks_that_are_none_are_named_with_their_row(tmp_path: Path, mask: Any, line: str) -> None:
    data = open_dataset(save(tmp_path / "set", mask=mask), "train")
    with pytest.raises(DataError, match=line) as caught:
        data.load(0)
    assert "row 0" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("mask", "kind"),
    [
        ({"path": "/etc/passwd", "bytes": None}, "outside-path"),
        ({"path": "absent.png", "bytes": None}, "missing-file"),
        (b"no picture", "corrupt-image"),
    ],
)
def test_faults_have_the_kind_that_files_have(
    tmp_path: Path, mask: Any, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = save(tmp_path / "set", mask=mask)
    monkeypatch.chdir(tmp_path / "set")
    with pytest.raises(DataError) as caught:
        open_dataset(root, "train").load(0)
    assert caught.value.kind == kind and "0x" not in str(caught.value)


def test_a_blank_text_is_named_or_skipped(tmp_path: Path) -> None:
    columns = rows("train")
    columns["text"][1] = " "
    table(columns).save_to_disk(tmp_path / "set")
    with pytest.raises(DataError, match="row 1: `text` must be a sentence"):
        open_dataset(tmp_path / "set", "train")
    lenient = open_dataset(tmp_path / "set", "train", on_error="skip")
    assert [sample.id for sample in lenient.samples] == ["0#0", "2#0", "3#0"] and len(lenient.skipped) == 1


def test_without_the_library_there_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def without(name: str, *args: Any, **more: Any) -> Any:
        if name == "datasets":
            raise ImportError(name)
        return found(name, *args, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(DataError, match=r"need `pip install 'lisa-core\[datasets\]'`"):
        open_dataset("hf:org/name", "train")


def test_a_set_that_cannot_be_loaded_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "x.parquet").write_bytes(b"no parquet")
    for source in (tmp_path / "set", "hf:no such/name at all", "hf:"):
        with pytest.raises(DataError, match=r"cannot be loaded as a Hugging Face dataset|names no dataset") as caught:
            open_dataset(source, "train")
        assert "\n" not in str(caught.value)


def test_a_folder_s_own_script_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    script = f"open({str(tmp_path / 'was_here')!r}, 'w')\n"
    (tmp_path / "set" / "set.py").write_text(script)
    with pytest.raises(DataError, match="cannot be loaded"):
        open_dataset(f"hf:{tmp_path / 'set'}", "train")
    assert not (tmp_path / "was_here").exists()
