"""Every reader on a miniature of its published layout: pixel-exact masks, in every split and style of mirror."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import builders
import numpy as np
import pytest
from builders import CATEGORIES, HEIGHT, WIDTH, Scene, of

from lisa_core.data import IGNORE, SegmentationDataset, open_dataset
from lisa_core.errors import DataError
from lisa_core.registry import get_registry

Expected = dict[tuple[str, str], np.ndarray]
"""By picture and text: the mask."""


def by_category(scenes: list[Scene], crowds: bool = True, called: Callable[[str], list[str]] | None = None) -> Expected:
    """All objects of a category at once; the ignored region belongs to the dogs."""
    found: Expected = {}
    for scene in scenes:
        for category in {thing.category for thing in scene.things}:
            mask = np.zeros((HEIGHT, WIDTH), np.uint8)
            if crowds and category == "dog":
                mask[scene.ignored] = IGNORE
            for thing in scene.things:
                if thing.category == category:
                    mask[thing.mask] = 1
            for text in called(category) if called else [category]:
                found[scene.name, text] = mask
    return found


def by_label(scenes: list[Scene]) -> Expected:
    """As labelme has it: what is ignored is so for every label."""
    found: Expected = {}
    for (name, category), mask in by_category(scenes, crowds=False).items():
        (ignored,) = [scene.ignored for scene in scenes if scene.name == name]
        found[name, category] = np.where(ignored & (mask == 0), IGNORE, mask).astype(np.uint8)
    return found


def by_thing(scenes: list[Scene], texts: int | None = None, ignored: bool = False) -> Expected:
    """Each object by its own texts."""
    found: Expected = {}
    for scene in scenes:
        for thing in scene.things:
            mask = thing.mask.astype(np.uint8)
            if ignored:
                mask[scene.ignored & ~thing.mask] = IGNORE
            for text in thing.texts[:texts]:
                found[scene.name, text] = mask
    return found


def by_class(scenes: list[Scene], names: dict[str, str], unlabelled: bool = True) -> Expected:
    """As label maps have it: later objects lie on top, the rest is not counted."""
    found: Expected = {}
    for scene in scenes:
        values = builders.index_map(scene, 0, 255)
        for index in np.unique(values).tolist():
            if index != 255:
                mask = (values == index).astype(np.uint8)
                mask[values == 255] = IGNORE
                found[scene.name, names[CATEGORIES[index]]] = mask
    return found


def part_names(category: str) -> list[str]:
    return {
        "cat": ["cat"],
        "dog": ["dog paw", "the paw of the dog"],
        "frame": ["picture frame"],
        "kite": ["kite tail", "the tail of the kite"],
    }[category]


FORMATS: dict[str, tuple[str, Callable[..., None], Callable[[list[Scene]], Expected]]] = {
    "coco": ("coco", builders.write_coco, by_category),
    "roboflow": ("coco", builders.write_roboflow, by_category),
    "paco": ("paco", builders.write_paco, functools.partial(by_category, crowds=False, called=part_names)),
    "pascal-part": (
        "pascal-part",
        builders.write_pascal_part,
        functools.partial(by_category, crowds=False, called=lambda name: [f"{name} head", f"the head of the {name}"]),
    ),
    "labelme": ("labelme", builders.write_labelme, by_label),
    "ade20k": (
        "ade20k",
        builders.write_ade20k,
        functools.partial(by_class, names={"cat": "cat", "dog": "dog", "frame": "frame", "kite": "kite"}),
    ),
    "cocostuff": (
        "cocostuff",
        builders.write_cocostuff,
        functools.partial(by_class, names={"cat": "cat", "dog": "dog", "frame": "wood frame", "kite": "kite"}),
    ),
    "cocostuff beside": (
        "cocostuff",
        functools.partial(builders.write_cocostuff, beside=True),
        functools.partial(by_class, names={"cat": "cat", "dog": "dog", "frame": "wood frame", "kite": "kite"}),
    ),
    "mapillary": (
        "mapillary",
        builders.write_mapillary,
        functools.partial(by_class, names={name: name for name in CATEGORIES}),
    ),
    "jsonl": ("jsonl", builders.write_jsonl, functools.partial(by_thing, ignored=True)),
    "jsonl in one file": (
        "jsonl",
        functools.partial(builders.write_jsonl, one_file=True),
        functools.partial(by_thing, ignored=True),
    ),
}
STYLES = ("utf-8", "utf-8-sig", "cp1252")


def check(dataset: SegmentationDataset, expected: Expected, name: str, distinct: bool = True) -> None:
    """Every sample decodes to the expected picture and mask, and every expected one is there."""
    found: Expected = {}
    for index, sample in enumerate(dataset.samples):
        example = dataset.load(index)
        key = (sample.image_path.stem, example.sample.text)
        assert example.mask.dtype == np.uint8 and example.mask.shape == (HEIGHT, WIDTH)
        assert example.image.size == (WIDTH, HEIGHT) and example.image.mode == "RGB"
        assert example.sample.source == name
        if key in expected:
            assert np.array_equal(example.mask, expected[key]), key
        found[key] = example.mask
    assert found.keys() == expected.keys()
    if distinct:
        assert len(dataset) == len(expected)
    ids = [sample.id for sample in dataset.samples]
    assert len(set(ids)) == len(ids) or name in ("ade20k", "cocostuff", "mapillary")
    assert dataset.skipped == []


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("case", FORMATS)
def test_every_split_is_read_back_exactly(tmp_path: Path, case: str, style: str) -> None:
    name, write, expect = FORMATS[case]
    root = tmp_path / "my data" / "größe 1" / "set"
    root.mkdir(parents=True)
    write(root, style)
    for split in ("train", "val", "test"):
        dataset = open_dataset(root, split)  # the format is told from the folder
        assert type(dataset) is get_registry().load_dataset_class(name)
        check(dataset, expect(of(split)), name, distinct=name not in ("ade20k", "cocostuff", "mapillary"))


@pytest.mark.parametrize("case", FORMATS)
def test_the_constructor_decodes_no_picture(tmp_path: Path, case: str, monkeypatch: Any) -> None:
    name, write, _ = FORMATS[case]
    root = tmp_path / "a" / "b" / "set"
    root.mkdir(parents=True)
    write(root)

    def refuse(*args: Any, **more: Any) -> None:
        raise AssertionError("a picture was opened")

    monkeypatch.setattr("PIL.Image.open", refuse)
    assert len(open_dataset(root, "train", format=name)) >= 2


@pytest.mark.parametrize("case", FORMATS)
def test_first_phrasings_are_one_a_target(tmp_path: Path, case: str) -> None:
    name, write, _ = FORMATS[case]
    root = tmp_path / "a" / "b" / "set"
    root.mkdir(parents=True)
    write(root)
    first = open_dataset(root, "train", "first")
    per_scene = {"jsonl": 4, "ade20k": 2, "cocostuff": 2, "mapillary": 2}.get(name, 3)  # things, pictures, categories
    assert len(first) == per_scene


@pytest.mark.parametrize("case", FORMATS)
def test_a_missing_split_and_a_missing_folder_are_one_line(tmp_path: Path, case: str) -> None:
    name, write, _ = FORMATS[case]
    root = tmp_path / "a" / "b" / "set"
    root.mkdir(parents=True)
    write(root)
    for folder, split, line in ((root, "nosuch", "split"), (root / "absent", "train", "is not a folder")):
        with pytest.raises(Exception, match=line) as caught:
            open_dataset(folder, split, format=name)
        assert isinstance(caught.value, DataError) and "\n" not in str(caught.value)
        assert "nosuch" in str(caught.value) or split == "train"


@pytest.mark.parametrize("case", FORMATS)
def test_a_picture_that_is_gone_or_swapped_is_named(tmp_path: Path, case: str) -> None:
    name, write, _ = FORMATS[case]
    root = tmp_path / "a" / "b" / "set"
    root.mkdir(parents=True)
    write(root)
    dataset = open_dataset(root, "train", format=name)
    index = next(n for n, sample in enumerate(dataset.samples) if sample.image_path.stem == "two")
    picture = dataset.samples[index].image_path
    picture.write_bytes(b"no picture")
    with pytest.raises(Exception, match=r"two\.(jpg|png) is not an image") as caught:
        dataset.load(index)
    assert "\n" not in str(caught.value)
    picture.unlink()
    with pytest.raises(Exception, match=r"two\.(jpg|png)"):
        open_dataset(root, "train", format=name).load(index)
