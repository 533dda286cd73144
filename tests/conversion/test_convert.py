"""Masks come back exact to the pixel from every format; what a format cannot hold is said; nothing is overwritten."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image

from lisa_core.conversion import TARGETS, convert_dataset
from lisa_core.conversion.writer import Masks
from lisa_core.data import IGNORE, SegmentationDataset, open_dataset
from lisa_core.data.opening import format_name
from lisa_core.errors import ConfigError, DataError
from lisa_core.inspection import check_dataset

FORMS: list[tuple[str, Masks]] = [(name, form) for name, writer in TARGETS.items() for form in writer.forms]
HOLDS_IGNORED = ("jsonl", "reasonseg", "coco", "labelme")
HOLDS_PHRASINGS = ("jsonl", "reasonseg", "refer", "grefcoco")
HOLDS_NO_TARGET = ("jsonl", "reasonseg", "grefcoco")

MASKS = st.tuples(st.integers(1, 14), st.integers(1, 14)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.sampled_from([0, 1, 1, IGNORE]))
)


def write_png_set(root: Path, masks: list[np.ndarray]) -> None:
    """A picture with one target for each mask; every picture has a colour of its own."""
    (root / "masks").mkdir(parents=True)
    lines = []
    for number, mask in enumerate(masks):
        height, width = mask.shape
        Image.new("RGB", (width, height), (number, 7, 9)).save(root / f"p{number}.png")
        entry: dict[str, Any] = {"image": f"p{number}.png", "text": f"thing {number}"}
        for name, value in (("mask", 1), ("ignore", IGNORE)):
            file = f"masks/{number}_{name}.png"
            Image.fromarray((mask == value).astype(np.uint8) * 255).save(root / file)
            entry[name] = file if name == "mask" else {"mask": file}
        lines.append(json.dumps(entry))
    (root / "train.jsonl").write_text("\n".join(lines))


def content(dataset: SegmentationDataset) -> dict[tuple[bytes, str], np.ndarray]:
    """By pixels and text: the mask."""
    found = {}
    for index in range(len(dataset)):
        example = dataset.load(index)
        found[example.image.tobytes(), example.sample.text] = example.mask
    return found


@pytest.mark.parametrize(("to", "form"), FORMS)
@settings(max_examples=25)
@given(masks=st.lists(MASKS, min_size=1, max_size=3))
def test_masks_come_back_exactly(to: str, form: Masks, masks: list[np.ndarray]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, out = Path(folder) / "set", Path(folder) / "out"
        write_png_set(root, masks)
        convert_dataset(root, out, to, masks=form)
        assert format_name(out) == to
        found = content(open_dataset(out, "train"))
        assert len(found) == len(masks)
        for number, mask in enumerate(masks):
            height, width = mask.shape
            expected = mask if to in HOLDS_IGNORED else np.where(mask == IGNORE, 0, mask)
            assert np.array_equal(found[bytes((number, 7, 9)) * height * width, f"thing {number}"], expected)


SOURCES: dict[str, Callable[..., None]] = {
    "coco": builders.write_coco,
    "labelme": builders.write_labelme,
    "jsonl": builders.write_jsonl,
    "refer": builders.write_refer,
    "grefcoco": builders.write_grefcoco,
    "sa2va": builders.write_sa2va,
    "ade20k": builders.write_ade20k,
    "pascal-part": builders.write_pascal_part,
}


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("to", TARGETS)
def test_every_readable_set_becomes_every_other(tmp_path: Path, source: str, to: str) -> None:
    root = tmp_path / "a" / "b" / "set"
    root.mkdir(parents=True)
    SOURCES[source](root)
    result = convert_dataset(root, tmp_path / "out", to)
    assert result.source_format == source and result.format == to and result.skipped == []
    checked = check_dataset(tmp_path / "out", ignore=["empty-mask"])
    assert checked.format == to and [fault.message for fault in checked.faults] == []
    assert list(checked.splits) == list(result.splits)
    for split in result.splits:
        old, new = content(open_dataset(root, split, "all")), content(open_dataset(tmp_path / "out", split, "all"))
        assert new.keys() <= old.keys() and new
        if to in HOLDS_PHRASINGS and to in HOLDS_NO_TARGET:
            assert new.keys() == old.keys()
        for key, mask in new.items():
            if to in HOLDS_IGNORED and not any("not counted" in what for what in result.lost):
                assert np.array_equal(mask, old[key]), key
            assert np.array_equal(mask == 1, old[key] == 1), key


def test_our_own_format_holds_everything(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    root = tmp_path / "set"
    root.mkdir()
    (tmp_path / "a.png").rename(root / "a.png")
    box = {"box": [1, 1, 3, 3]}
    lines = [
        {"image": "a.png", "text": ["the cup", "cup"], **box, "answer": "It holds tea.", "id": "cup"},
        {"image": "a.png", "text": "Is there a unicorn?", "no_target": True, "ignore": box, "is_sentence": False},
        {"image": "a.png", "text": "a dog", "box": [4, 4, 2, 2], "is_sentence": True, "id": "x/y#z"},
    ]
    for split in ("train", "odd name"):
        (root / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    result = convert_dataset(root, tmp_path / "out", "jsonl", masks="polygons")
    assert result.lost == {} and result.splits["train"] == {"samples": 4, "targets": 3}
    for split in ("train", "odd name"):
        old, new = open_dataset(root, split), open_dataset(tmp_path / "out", split)
        for index, (before, after) in enumerate(zip(old.samples, new.samples, strict=True)):
            for name in ("id", "text", "is_sentence", "answer", "no_target"):
                expected = getattr(before, name)
                if name == "id" and not expected.startswith(("cup", "x")):
                    continue
                assert getattr(after, name) == expected
            assert np.array_equal(old.load(index).mask, new.load(index).mask)
    assert len(list((tmp_path / "out" / "images").iterdir())) == 1
    summary = json.loads((tmp_path / "out" / "conversion.json").read_text())
    assert summary == json.loads(json.dumps(result.to_dict()))


@pytest.mark.parametrize("to", TARGETS)
def test_what_a_format_cannot_hold_is_counted(tmp_path: Path, to: str) -> None:
    root = tmp_path / "set"
    root.mkdir()
    Image.new("RGB", (8, 8)).save(root / "a.png")
    box = {"box": [1, 1, 3, 3]}
    lines = [
        {"image": "a.png", "text": ["the_cup", "cup"], **box, "answer": "Tea."},
        {"image": "a.png", "text": "unicorn", "no_target": True},
        {"image": "a.png", "text": "dog", "box": [4, 4, 2, 2], "ignore": {"box": [0, 0, 1, 1]}},
        {"image": "a.png", "text": "dog", "box": [6, 6, 2, 2]},
    ]
    (root / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    lost = convert_dataset(root, tmp_path / "out", to).lost
    said = " ".join(lost)
    assert ("without a target" in said) == (to not in HOLDS_NO_TARGET)
    assert ("answers" in said) == (to != "jsonl")
    assert ("further phrasings" in said) == (to not in HOLDS_PHRASINGS)
    assert ("blanks" in said) == (to in ("coco", "labelme"))
    assert ("are one with another" in said) == (to in ("coco", "labelme"))
    assert ("not counted" in said) == (to not in ("jsonl", "reasonseg", "coco"))  # labelme's are those of the picture
    assert all(count == 1 for count in lost.values()) or to == "labelme"
    number = len(open_dataset(tmp_path / "out", "train", "first"))
    assert number == {"coco": 2, "labelme": 2, "refer": 3, "sa2va": 5}.get(to, 4)


def test_references_are_plain_data_in_the_published_form(tmp_path: Path) -> None:
    root = tmp_path / "set"
    builders.write_jsonl(root)
    convert_dataset(root, tmp_path / "out", "refcoco", masks="polygons")
    refs = pickle.loads((tmp_path / "out" / "refs(unc).p").read_bytes())
    assert {type(ref["sentences"][0]["sent"]) for ref in refs} == {str} and {ref["split"] for ref in refs} >= {"train"}
    names = {"ref_id", "ann_id", "category_id", "image_id", "file_name", "split", "sentences", "sent_ids"}
    assert set(refs[0]) == names
    instances = json.loads((tmp_path / "out" / "instances.json").read_text())
    assert {annotation["id"] for annotation in instances["annotations"]} == {ref["ann_id"] for ref in refs}
    assert all(isinstance(annotation["segmentation"], list) for annotation in instances["annotations"])
    first = instances["annotations"][0]
    assert first["area"] == builders.ring("", []).mask.sum() and first["bbox"] == [2, 2, 10, 10]


def test_pictures_keep_their_bytes_and_names_that_clash_are_parted(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for folder, colour in (("x", 10), ("y", 200), ("z", 10)):
        (root / folder).mkdir(parents=True)
        Image.new("RGB", (8, 8), (colour, 0, 0)).save(root / folder / "A.jpg", quality=50)
    Image.new("RGB", (8, 8), (90, 0, 0)).save(root / "a.JPG", "JPEG")
    Image.new("RGB", (8, 8), (4, 5, 6)).save(root / "w.webp", lossless=True)
    names = ["x/A.jpg", "y/A.jpg", "z/A.jpg", "a.JPG", "w.webp"]
    lines = [{"image": name, "text": f"in {name}", "box": [1, 1, 2, 2]} for name in names]
    (root / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    for to in TARGETS:
        out = tmp_path / to
        convert_dataset(root, out, to)
        new = open_dataset(out, "train")
        pictures = {sample.text: sample.image_path for sample in new.samples}
        for name in names[:4]:
            assert pictures[f"in {name}"].read_bytes() == (root / name).read_bytes()
        with Image.open(pictures["in w.webp"]) as image:
            assert image.format == "PNG" and image.getpixel((0, 0)) == (4, 5, 6)
        assert len(set(pictures.values())) == (5 if to == "reasonseg" else 4)
        assert len({path.name.lower() for path in pictures.values()}) == len(set(pictures.values()))


@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_what_exif_turns_is_no_such_file_of_labelme_s(tmp_path: Path, orientation: int) -> None:
    root, exif = tmp_path / "set", Image.Exif()
    root.mkdir()
    exif[0x0112] = orientation
    Image.new("RGB", (8, 6), (3, 4, 5)).save(root / "a.jpg", exif=exif)
    (root / "train.jsonl").write_text(json.dumps({"image": "a.jpg", "text": "it", "box": [1, 1, 3, 3]}))
    for to in ("jsonl", "labelme"):
        convert_dataset(root, tmp_path / to, to)
        new = open_dataset(tmp_path / to, "train")
        assert content(new).keys() == content(open_dataset(root, "train")).keys()
        name = "a.png" if to == "labelme" and orientation > 1 else "a.jpg"
        assert new.samples[0].image_path.name == name
        with Image.open(new.samples[0].image_path) as image:
            assert image.getexif().get(0x0112, 1) == (1 if name == "a.png" else orientation)


def test_broken_samples_stop_it_or_are_named(tmp_path: Path) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    builders.write_coco(root)
    picture = root / "train2017" / "two.jpg"
    picture.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"two\.jpg is not an image"):
        convert_dataset(root, out, "jsonl")
    assert list(tmp_path.iterdir()) == [root], "nothing is left behind"
    result = convert_dataset(root, out, "jsonl", on_error="skip")
    assert len(result.skipped) == 1 and "two.jpg" in result.skipped[0]
    assert len(open_dataset(out, "train")) == 2
    picture.unlink()
    with pytest.raises(DataError, match=r"two\.jpg"):
        convert_dataset(root, tmp_path / "other", "jsonl")


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    root, out = tmp_path / "set", tmp_path / "out"
    builders.write_coco(root)
    out.mkdir()
    convert_dataset(root, out, "jsonl")  # an empty folder is as good as none
    before = sorted(path.name for path in out.iterdir())
    with pytest.raises(ConfigError, match="--force"):
        convert_dataset(root, out, "sa2va")
    assert sorted(path.name for path in out.iterdir()) == before
    convert_dataset(root, out, "sa2va", force=True)
    assert format_name(out) == "sa2va" and not list(out.glob("*.jsonl"))
    other = tmp_path / "mine"
    other.mkdir()
    (other / "diary.txt").write_text("mine")
    for force in (False, True):
        with pytest.raises(ConfigError, match="holds something else"):
            convert_dataset(root, other, "jsonl", force=force)
    (tmp_path / "file").write_text("x")
    for place, line in ((tmp_path / "file", "is a file"), (root / "in", "in one another"), (root, "in one another")):
        with pytest.raises(ConfigError, match=line):
            convert_dataset(root, place, "jsonl", force=True)
    with pytest.raises(ConfigError, match="ade20k cannot be written: choose one of jsonl"):
        convert_dataset(root, tmp_path / "x", "ade20k")
    with pytest.raises(ConfigError, match="coco holds no png masks: choose one of rle, polygons"):
        convert_dataset(root, tmp_path / "x", "coco", masks="png")
    assert (other / "diary.txt").read_text() == "mine" and sorted(p.name for p in tmp_path.iterdir()) == [
        "file",
        "mine",
        "out",
        "set",
    ]


@pytest.mark.parametrize("write", [builders.write_llava_instruct, builders.write_muse])
def test_what_is_no_mask_for_a_sentence_is_not_converted(tmp_path: Path, write: Callable[[Path], None]) -> None:
    write(tmp_path / "in")
    with pytest.raises(ConfigError, match="cannot hold: leave it as it is"):
        convert_dataset(tmp_path / "in", tmp_path / "out", "jsonl")
    assert not (tmp_path / "out").exists()


def test_answers_in_words_alone_are_no_faults(tmp_path: Path) -> None:
    builders.write_llava_instruct(tmp_path)
    assert check_dataset(tmp_path).faults == []
