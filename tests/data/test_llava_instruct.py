"""LLaVA-Instruct's conversations: a sample for each answer, with what was said before, and nothing to draw."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import builders
import pytest
from builders import scenes

from lisa_core.data import IGNORE, open_dataset
from lisa_core.errors import DataError


@pytest.mark.parametrize("style", ["utf-8", "utf-8-sig", "ascii"])
def test_every_answer_is_a_sample_with_what_was_said_before(tmp_path: Path, style: str) -> None:
    builders.write_llava_instruct(tmp_path, style)
    data = open_dataset(tmp_path, "train")
    assert len(data) == 2 * len(scenes())
    for number, scene in enumerate(scenes()):
        first, second = (data.load(2 * number + turn) for turn in (0, 1))
        assert first.sample.text == ("What is in the picture?" if number % 2 else "What is it?")
        assert first.sample.answer == f"A {scene.things[0].category}." and first.earlier == []
        assert second.sample.text == "How many objects are there?"
        assert second.sample.answer == f"There are {len(scene.things)}."
        assert second.earlier == [(first.sample.text, first.sample.answer)]
        for example in (first, second):
            assert (example.mask == IGNORE).all() and example.mask.shape == (builders.HEIGHT, builders.WIDTH)
            assert (example.sample.kind, example.sample.source) == ("text", "llava-instruct")
            assert example.sample.no_target  # nothing is missing from its mask
            assert example.sample.image_path.stem == scene.name
    assert len({sample.id for sample in data.samples}) == len(data)
    with pytest.raises(DataError, match="no split 'val'"):
        open_dataset(tmp_path, "val")


def test_files_named_like_splits_are_those(tmp_path: Path) -> None:
    builders.write_llava_instruct(tmp_path, name="vqa_train.json")
    builders.write_llava_instruct(tmp_path, name="val.json")
    for split in ("train", "val"):
        assert len(open_dataset(tmp_path, split)) == 2 * len(scenes())
    assert type(open_dataset(tmp_path, "train")).splits(tmp_path) == ["train", "val"]


def test_several_lists_are_one_set_whose_ids_stay_unique(tmp_path: Path) -> None:
    for name in ("detail_23k.json", "conversation_58k.json"):
        builders.write_llava_instruct(tmp_path, name=name)
    data = open_dataset(tmp_path, "train")
    assert len({sample.id for sample in data.samples}) == len(data) == 4 * len(scenes())


def test_pictures_may_lie_in_the_coco_beside_it_as_lisa_has_them(tmp_path: Path) -> None:
    root = tmp_path / "llava_dataset"
    builders.write_llava_instruct(root)
    (tmp_path / "coco").mkdir()
    (root / "train2017").rename(tmp_path / "coco" / "train2017")
    assert open_dataset(root, "train").load(0).image.size == (builders.WIDTH, builders.HEIGHT)


def test_a_damaged_list_is_not_taken_for_another_file(tmp_path: Path) -> None:
    builders.write_llava_instruct(tmp_path, name="llava_val.json")
    (tmp_path / "llava_train.json").write_text("[" * 10_000 + "]" * 10_000)
    assert type(open_dataset(tmp_path, "val")).splits(tmp_path) == ["train", "val"]
    with pytest.raises(DataError, match=r"llava_train\.json is not valid JSON"):
        open_dataset(tmp_path, "train")


def human(value: Any = "What is it?") -> dict[str, Any]:
    return {"from": "human", "value": value}


def gpt(value: Any = "A dog.") -> dict[str, Any]:
    return {"from": "gpt", "value": value}


BAD: dict[str, tuple[Any, str]] = {
    "no object": (3, "entry 0 must be an object"),
    "no conversation": ({"image": "two.jpg", "conversations": "hello"}, "entry 0 must be an object"),
    "no picture": ({"conversations": [human(), gpt()]}, "entry 0 has no `image`"),
    "outside": ({"image": "../../x.jpg", "conversations": [human(), gpt()]}, "points outside"),
    "absent": ({"image": "x.jpg", "conversations": [human(), gpt()]}, "names 'x.jpg'"),
    "order": ({"image": "two.jpg", "conversations": [gpt(), human()]}, "message 0 of entry 0 must be from human"),
    "no speaker": ({"image": "two.jpg", "conversations": ["hello"]}, "must be from human, not"),
    "no answer": ({"image": "two.jpg", "conversations": [human(), gpt(), human()]}, "must end with an answer"),
    "nothing": ({"image": "two.jpg", "conversations": []}, "must end with an answer"),
    "blank": ({"image": "two.jpg", "conversations": [human("<image>\n"), gpt()]}, "message 0 of entry 0 must be"),
    "broken": ({"image": "two.jpg", "conversations": [human(), gpt("\ud800")]}, "broken character"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_entry_is_named_or_skipped(tmp_path: Path, case: str) -> None:
    entry, line = BAD[case]
    builders.write_llava_instruct(tmp_path)
    path = tmp_path / "llava_instruct_150k.json"
    good = builders.json.loads(path.read_text(encoding="utf-8"))
    builders.write_json(path, [entry, *good], "ascii")
    with pytest.raises(DataError, match=line) as caught:
        open_dataset(tmp_path, "train", format="llava-instruct")
    assert "llava_instruct_150k.json" in str(caught.value) and "\n" not in str(caught.value)
    rest = open_dataset(tmp_path, "train", on_error="skip", format="llava-instruct")
    assert len(rest) == 2 * len(scenes()) and len(rest.skipped) == 1
