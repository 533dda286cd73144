from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from lisa_core.data import Example, open_dataset
from lisa_core.data.augmentation import Augmenter
from lisa_core.data.augmentation import augmenter as module
from lisa_core.data.augmentation.copy_paste import may_give
from lisa_core.data.augmentation.nouns import NOUNS
from lisa_core.data.sampler import Draw
from lisa_core.data.synth import SynthConfig, synthesize

ALL = {"flip": 0.5, "crop": 0.5, "colour": 0.5, "scale_jitter": 0.5, "copy_paste": 0.5}


@pytest.fixture(scope="module")
def many(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "many"
    synthesize(folder, SynthConfig(train=24, val=0, test=0, size=64))
    return folder


def pictures(root: Path) -> list[tuple[int, ...]]:
    """Indices of the samples of each picture."""
    groups: dict[str, list[int]] = {}
    for index, sample in enumerate(open_dataset(root, "train").samples):
        groups.setdefault(sample.image_path.stem.rpartition("_")[0], []).append(index)
    return [tuple(group) for group in groups.values()]


def loaded(augmenter: Augmenter, together: tuple[int, ...], epoch: int = 1, step: int = 0) -> list[Example]:
    items = augmenter.load([Draw(index, together, epoch, step) for index in together])
    assert all(isinstance(item, Example) for item in items)
    return items  # type: ignore[return-value]


def content(examples: list[Example]) -> list[tuple]:
    return [(e.sample, e.image.size, e.image.tobytes(), e.mask.tobytes()) for e in examples]


def test_all_sentences_of_a_picture_see_the_same_one(many):
    augmenter, changed = Augmenter(open_dataset(many, "train"), ALL, seed=3), 0
    for together in pictures(many):
        after = loaded(augmenter, together)
        assert len({(e.image.size, e.image.tobytes()) for e in after}) == 1
        assert all(e.mask.shape == (e.image.height, e.image.width) for e in after)
        changed += after[0].image.tobytes() != augmenter.dataset.load(together[0]).image.tobytes()
    assert changed > len(pictures(many)) / 3


def test_a_change_depends_on_seed_epoch_step_and_picture_alone(many):
    dataset, groups = open_dataset(many, "train"), pictures(many)
    first = Augmenter(dataset, ALL, seed=3)
    for together in groups[:6]:
        expected = content(loaded(first, together))
        # one at a time, in another order, by another object that loaded others before
        other = Augmenter(open_dataset(many, "train"), ALL, seed=3)
        loaded(other, groups[7])
        assert [content([other.load([Draw(i, together, 1, 0)])[0]])[0] for i in reversed(together)] == expected[::-1]  # type: ignore[list-item]
    variants = [
        [content(loaded(Augmenter(dataset, ALL, seed), together, epoch, step)) for together in groups]
        for seed, epoch, step in ((3, 1, 0), (4, 1, 0), (3, 2, 0), (3, 1, 1))
    ]
    assert all(one != other for number, one in enumerate(variants) for other in variants[:number])


def test_the_probability_of_one_change_does_not_touch_another(many):
    dataset = open_dataset(many, "train")
    for together in pictures(many)[:12]:
        alone = loaded(Augmenter(dataset, {"flip": 0.5}, 0), together)
        both = loaded(Augmenter(dataset, {"flip": 0.5, "colour": 1.0}, 0), together)
        assert [e.sample.text for e in alone] == [e.sample.text for e in both]


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.5, 5, 19), (1.0, 24, 24)])
def test_it_is_made_as_often_as_asked_for(many, probability, low, high):
    augmenter = Augmenter(open_dataset(many, "train"), {"flip": probability}, seed=0)
    before = Augmenter(open_dataset(many, "train"), {}, seed=0)
    flipped = [content(loaded(augmenter, together)) != content(loaded(before, together)) for together in pictures(many)]
    assert len(flipped) == 24 and low <= sum(flipped) <= high


def test_a_change_that_one_sentence_forbids_is_made_for_none(many, about):
    augmenter = Augmenter(open_dataset(many, "train"), {"flip": 1.0}, seed=0)
    before = about("the star on the left", "the food left over")
    assert content(augmenter.augment(before, "key")) == content(before)


def test_objects_are_pasted_from_other_pictures_only_and_none_that_are_named(many, monkeypatch):
    given, dataset = [], open_dataset(many, "train")
    load = dataset.load
    monkeypatch.setattr(dataset, "load", lambda index: given.append(index) or load(index))
    augmenter, pasted = Augmenter(dataset, {"copy_paste": 1.0}, seed=0), 0
    for together in pictures(many):
        given.clear()
        after = loaded(augmenter, together)
        donors = given[1:]  # before them the picture itself, once
        assert not set(donors) & set(together)
        changed = after[0].image.tobytes() != load(together[0]).image.tobytes()
        assert len(donors) >= changed
        pasted += changed
    assert pasted > 2
    assert not may_give(
        dataset.samples[0], [NOUNS[shape] for shape in ("circle", "square", "triangle", "star", "cross", "heart")]
    )


def test_no_object_comes_from_the_picture_itself(many, monkeypatch):
    dataset, together = open_dataset(many, "train"), pictures(many)[0]
    given: list[int] = []
    load = dataset.load
    monkeypatch.setattr(dataset, "load", lambda index: given.append(index) or load(index))
    monkeypatch.setattr(module, "may_give", lambda sample, nouns: True)
    monkeypatch.setattr(module, "named_by", lambda samples: [])
    monkeypatch.setattr(module, "copy_paste", lambda examples, donors, rng: list(donors) and None)
    augmenter = Augmenter(dataset, {"copy_paste": 1.0}, seed=0, count=together[-1] + 3)
    pasted = []
    for step in range(20):
        given.clear()
        loaded(augmenter, together, step=step)
        assert len(given) <= 1 + 2, "few are read"
        pasted += given[1:]  # before them the picture itself, once
    assert pasted and not set(pasted) & set(together)


def test_one_change_is_drawn_apart_from_another(many, about):
    dataset, before = open_dataset(many, "train"), about("the dog")

    def changed(name: str) -> list[bool]:
        augmenter = Augmenter(dataset, {name: 0.5}, seed=0)
        return [content(augmenter.augment(before, str(key))) != content(before) for key in range(100)]

    both = list(zip(changed("flip"), changed("colour")))
    assert all(both.count((flipped, tinted)) > 10 for flipped in (False, True) for tinted in (False, True))


def test_only_the_samples_that_are_trained_on_give_objects(many, monkeypatch):
    dataset, seen = open_dataset(many, "train"), []
    monkeypatch.setattr(module, "may_give", lambda sample, nouns: seen.append(sample.id) and False)
    augmenter = Augmenter(dataset, {"copy_paste": 1.0}, seed=0, count=9)
    for together in pictures(many)[-12:]:
        loaded(augmenter, together)
    assert seen and set(seen) <= {sample.id for sample in dataset.samples[:9]}


def test_what_cannot_be_decoded_becomes_a_line_and_the_others_are_changed(many, tmp_path):
    shutil.copytree(many, tmp_path / "copy")
    together = next(group for group in pictures(many) if len(group) > 2)
    dataset = open_dataset(tmp_path / "copy", "train")
    lost = dataset.samples[together[0]].image_path
    lost.unlink()
    items = Augmenter(dataset, {"flip": 1.0}, seed=0).load([Draw(index, together, 1, 0) for index in together])
    for index, item in zip(together, items):
        if dataset.samples[index].image_path == lost:
            assert isinstance(item, str) and str(lost) in item
        else:
            assert isinstance(item, Example) and item.image.tobytes() != dataset.load(index).image.tobytes()
