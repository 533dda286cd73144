from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from lisa_core.build import sam_size
from lisa_core.clip_llm import ClipLLM
from lisa_core.config import AugmentationConfig, DataConfig, ModelConfig, OptimConfig, TrainConfig
from lisa_core.data import open_dataset
from lisa_core.data.collate import Collator
from lisa_core.data.loader import train_loader


@pytest.fixture(scope="module")
def collator() -> Collator:
    config = ModelConfig(vlm="clip-llm", vlm_model_name="tiny", fusion="late")
    return Collator(ClipLLM.tiny(), config, sam_size(config))


@pytest.fixture
def corrupt(scenes: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of the scenes with one picture that is none, and the path of that."""
    shutil.copytree(scenes, tmp_path / "scenes")
    path = sorted((tmp_path / "scenes" / "train").glob("*.jpg"))[3]
    path.unlink()  # scenes share pictures by hard links
    path.write_bytes(b"not a picture")
    return tmp_path / "scenes", path


def batches(root: Path, collator: Collator, **data) -> list[dict]:
    config = TrainConfig(data=DataConfig(data=str(root), **data), optim=OptimConfig(seed=1))
    return list(train_loader(open_dataset(root, "train"), collator, config))


def ids(found: list[dict]) -> list[str]:
    return [name for batch in found for name in batch.get("sample_ids", [])]


def test_every_sample_is_in_one_batch(scenes, collator):
    samples = open_dataset(scenes, "train").samples
    found = batches(scenes, collator, batch_size=4)
    assert sorted(ids(found)) == sorted(sample.id for sample in samples)
    assert all(len(batch["targets"]) == len(batch["sample_ids"]) <= 4 for batch in found)
    assert all(batch["skipped"] == [] for batch in found)
    assert all(len(batch["pixel_values"]) < 4 for batch in found), "sentences of one picture share its pixels"


def test_only_the_first_samples_are_used_if_asked(scenes, collator):
    samples = open_dataset(scenes, "train").samples[:5]
    assert sorted(ids(batches(scenes, collator, max_train_samples=5))) == sorted(sample.id for sample in samples)


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_corrupt_picture_is_left_out_and_named(corrupt, collator, num_workers):
    root, path = corrupt
    lost = [sample.id for sample in open_dataset(root, "train").samples if sample.image_path == path]
    assert lost
    found = batches(root, collator, batch_size=4, num_workers=num_workers)
    assert sorted(ids(found) + lost) == sorted(sample.id for sample in open_dataset(root, "train").samples)
    lines = [line for batch in found for line in batch["skipped"]]
    assert len(lines) == len(lost) and all(str(path) in line and "\n" not in line for line in lines)


def test_a_batch_of_which_nothing_is_left_holds_only_what_was_skipped(corrupt, collator):
    found = batches(corrupt[0], collator, batch_size=1)
    empty = [batch for batch in found if "targets" not in batch]
    assert empty and all(batch.keys() == {"skipped"} and len(batch["skipped"]) == 1 for batch in empty)


STRONG = AugmentationConfig(augment="strong")


def epochs(root: Path, collator: Collator, first_step: int = 0, seed: int = 1, **data) -> list[dict]:
    """The batches of two augmented epochs, the first of them from a step on."""
    config = TrainConfig(
        data=DataConfig(data=str(root), batch_size=4, **data),
        optim=OptimConfig(seed=seed, gradient_accumulation_steps=2),
        augmentation=STRONG,
    )
    loader = train_loader(open_dataset(root, "train"), collator, config)
    found = []
    for epoch in (1, 2):
        loader.batch_sampler.set_epoch(epoch, first_step if epoch == 1 else 0)
        found += list(loader)
    return found


def alike(batches: list[dict], others: list[dict]) -> bool:
    """Whether two lists of batches hold the same, bit by bit."""
    return len(batches) == len(others) and all(
        one.keys() == other.keys()
        and all(
            torch.equal(one[key], other[key]) if torch.is_tensor(one[key]) else one[key] == other[key] for key in one
        )
        for one, other in zip(batches, others)
    )


@pytest.fixture(scope="module")
def augmented(scenes, collator) -> list[dict]:
    return epochs(scenes, collator)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_do_not_change_what_is_augmented(scenes, collator, augmented, num_workers):
    assert alike(epochs(scenes, collator, num_workers=num_workers), augmented)


def test_what_is_left_of_an_epoch_is_augmented_as_if_it_had_been_begun(scenes, collator, augmented):
    for first_step in (1, 2):
        assert alike(epochs(scenes, collator, first_step), augmented[2 * first_step :])
    assert not alike(epochs(scenes, collator, seed=2), augmented)


def test_augmented_sentences_of_one_picture_still_share_its_pixels(scenes, collator, augmented):
    plain = batches(scenes, collator, batch_size=4)
    assert sorted(ids(augmented)) == sorted(ids(plain) * 2)
    assert sum(len(batch["pixel_values"]) for batch in augmented) < sum(len(batch["sample_ids"]) for batch in augmented)
    picture = {sample.id: sample.image_path.stem[:-2] for sample in open_dataset(scenes, "train").samples}
    for batch in augmented:
        shown = {picture[name]: index for name, index in zip(batch["sample_ids"], batch["image_index"].tolist())}
        assert len(shown) == len(batch["pixel_values"]), "one encoding for each picture of the batch"


def test_a_corrupt_picture_is_named_where_pictures_are_augmented(corrupt, collator):
    root, path = corrupt
    lost = [sample.id for sample in open_dataset(root, "train").samples if sample.image_path == path]
    found = epochs(root, collator)
    assert sorted(ids(found) + lost * 2) == sorted([sample.id for sample in open_dataset(root, "train").samples] * 2)
    lines = [line for batch in found for line in batch["skipped"]]
    assert len(lines) == 2 * len(lost) and all(str(path) in line for line in lines)
