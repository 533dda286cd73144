"""Several datasets as one: which sample is of which, splits that some lack, and the same batches whoever loads them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import builders
import numpy as np
import pytest
import torch
from builders import of, scenes

from lisa_core.build import sam_size
from lisa_core.clip_llm import ClipLLM
from lisa_core.config import AugmentationConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from lisa_core.data import open_dataset
from lisa_core.data.collate import Collator
from lisa_core.data.loader import train_loader
from lisa_core.data.mixture import Mixture, first_samples
from lisa_core.data.sources import open_sources
from lisa_core.errors import DataError


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sets of the same pictures: objects, conversations, and answers with several masks; not to be written to."""
    folder = tmp_path_factory.mktemp("mixed")
    for split in ("train", "val", "test"):
        builders.write_sa2va(folder / "refer", split=split)
    builders.write_llava_instruct(folder / "vqa")
    builders.write_muse(folder / "multi" / "muse")
    return folder


def settings(root: Path, **data) -> DataConfig:
    return DataConfig(data=f"{root / 'refer'}||{root / 'vqa'}||many={root / 'multi' / 'muse'}", **data)


def test_samples_of_all_datasets_know_where_they_are_from(root: Path) -> None:
    data = open_sources(settings(root), "train", "all")
    parts = {name: open_dataset(root / name, "train") for name in ("refer", "vqa", "multi/muse")}
    assert isinstance(data, Mixture) and data.names == ["refer", "vqa", "many"]
    assert Counter(sample.dataset for sample in data.samples) == dict(zip(data.names, map(len, parts.values())))
    assert len({sample.id for sample in data.samples}) == len(data) == sum(map(len, parts.values()))
    for number, (name, part) in enumerate(zip(data.names, parts.values())):
        for index, start in enumerate(range(data.starts[number], data.starts[number + 1])):
            mixed, own = data.load(start), part.load(index)
            assert np.array_equal(mixed.mask, own.mask) and mixed.sample == data.samples[start]
            assert (mixed.sample.id, mixed.sample.dataset) == (f"{name}:{own.sample.id}", name)
            assert (mixed.sample.source, mixed.sample.text) == (own.sample.source, own.sample.text)
    with pytest.raises(IndexError):
        data.load(len(data))


def test_the_limit_counts_in_each_dataset(root: Path) -> None:
    data = open_sources(settings(root, max_train_samples=2), "train", "all")
    assert [sample.dataset for sample in data.samples] == ["refer"] * 2 + ["vqa"] * 2 + ["many"] * 2
    assert first_samples(data, 2) == data.samples
    alone = open_dataset(root / "refer", "train")
    assert first_samples(alone, 2) == alone.samples[:2] and first_samples(alone, None) == alone.samples


def test_what_has_no_split_or_no_mask_in_it_is_left_out_of_evaluation_only(root: Path, tmp_path: Path) -> None:
    said: list[str] = []
    data = open_sources(settings(root), "val", "first", said.append)
    assert isinstance(data, Mixture) and data.names == ["refer", "many"]
    assert len(said) == 1 and "vqa has no split 'val'" in said[0]
    for name in ("train", "val"):
        builders.write_llava_instruct(tmp_path, name=f"{name}.json")
    both = DataConfig(data=f"{root / 'refer'}||vqa={tmp_path}")
    data = open_sources(both, "val", "first", said.append)
    assert isinstance(data, Mixture) and data.names == ["refer"]
    assert said[1] == "vqa is left out of split 'val': its answers are words alone"
    with pytest.raises(DataError, match="no answer in split 'val' has a mask"):
        open_sources(DataConfig(data=str(tmp_path)), "val", "first")
    with pytest.raises(DataError, match="no split 'never'"):
        open_sources(settings(root), "never", "first")
    with pytest.raises(DataError, match="no split 'train'"):
        (tmp_path / "none").mkdir()
        builders.write_sa2va(tmp_path / "none", split="val")
        open_sources(DataConfig(data=f"{root / 'refer'}||{tmp_path / 'none'}", data_format="sa2va"), "train", "all")


def test_one_dataset_is_what_it_always_was(root: Path) -> None:
    data = open_sources(DataConfig(data=str(root / "refer")), "train", "all")
    assert not isinstance(data, Mixture) and data.samples == open_dataset(root / "refer", "train").samples
    assert [sample.dataset for sample in data.samples] == [""] * len(data)
    assert len(data) == sum(len(scene.things) for scene in of("train"))


@pytest.fixture(scope="module")
def collator() -> Collator:
    config = ModelConfig(vlm="clip-llm", vlm_model_name="tiny")
    return Collator(ClipLLM.tiny(), config, sam_size(config))


def batches(root: Path, collator: Collator, first_step: int = 0, rates: str | None = "9,3,1", **more) -> list[dict]:
    data = settings(
        root, sample_rates=rates, batch_size=4, steps_per_epoch=5 if rates else None, **more.pop("data", {})
    )
    config = TrainConfig(data=data, optim=OptimConfig(gradient_accumulation_steps=2), **more)
    loader = train_loader(open_sources(data, "train", "all"), collator, config)
    found = []
    for epoch in (1, 2):
        loader.batch_sampler.set_epoch(epoch, first_step if epoch == 1 else 0)
        found += list(loader)
    return found


def ids(found: list[dict]) -> list[str]:
    return [name for batch in found for name in batch["sample_ids"]]


def test_rates_decide_what_batches_hold_and_without_them_all_comes_once(root: Path, collator: Collator) -> None:
    names = Counter(name for batch in batches(root, collator) for name in batch["datasets"])
    assert sum(names.values()) == 2 * 5 * 8
    assert all(abs(names[name] - 80 * rate / 13) <= 1 for name, rate in (("refer", 9), ("vqa", 3), ("many", 1)))
    whole = batches(root, collator, rates=None)
    assert Counter(ids(whole)) == Counter(
        2 * [sample.id for sample in open_sources(settings(root), "train", "all").samples]
    )


STYLES = {
    "plain": {},
    "varied": {"data": {"prompt_style": "varied"}},
    "augmented": {"augmentation": AugmentationConfig(augment="strong"), "data": {"prompt_style": "varied"}},
}


@pytest.mark.parametrize(
    "style", [pytest.param(style, marks=() if style == "augmented" else pytest.mark.slow) for style in STYLES]
)
def test_workers_and_resuming_change_nothing(root: Path, collator: Collator, style: str) -> None:
    def load(**how) -> list[dict]:
        more = STYLES[style]
        return batches(root, collator, **{**more, "data": {**more.get("data", {}), **how.pop("data", {})}}, **how)

    whole = load()
    for how, expected in (
        *(({"data": {"num_workers": workers}}, whole) for workers in (1, 2, 4)),
        *(({"first_step": step}, whole[2 * step :]) for step in (1, 4)),
    ):
        again = load(**how)
        assert ids(again) == ids(expected)
        for one, other in zip(again, expected, strict=True):
            assert all(torch.equal(one[key], other[key]) for key in ("input_ids", "targets", "seg_row", "pixel_values"))


def test_conversations_and_answers_of_several_masks_are_not_augmented(root: Path, collator: Collator) -> None:
    plain, changed = (
        batches(root, collator, augmentation=AugmentationConfig(augment=how)) for how in ("none", "strong")
    )
    seen = 0
    for one, other in zip(plain, changed, strict=True):
        assert one["sample_ids"] == other["sample_ids"]
        alone = {image for image, name in zip(one["image_index"].tolist(), one["datasets"]) if name != "refer"}
        for row, name in enumerate(one["datasets"]):
            if name != "refer" and not alone & {
                image for image, kind in zip(one["image_index"].tolist(), one["datasets"]) if kind == "refer"
            }:
                images = one["image_index"][row], other["image_index"][row]
                assert torch.equal(one["pixel_values"][images[0]], other["pixel_values"][images[1]])
                seen += 1
    assert seen > 0


def test_varied_wording_changes_with_the_epoch_and_keeps_the_text(root: Path, collator: Collator) -> None:
    words: dict[str, set[str]] = {}
    for batch in batches(root, collator, rates=None, data={"prompt_style": "varied"}) + batches(
        root, collator, rates=None
    ):
        for name, row in zip(batch["sample_ids"], batch["input_ids"]):
            words.setdefault(name, set()).add(collator.vlm.tokenizer.decode(row, skip_special_tokens=True))
    assert sum(len(found) > 1 for name, found in words.items() if name.startswith("refer:")) >= 3
    assert all(len(found) == 1 for name, found in words.items() if name.startswith("vqa:"))
    assert len(scenes()) == 5
