from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from lisa_core.data import ReasonSeg, group_by_image
from lisa_core.data.scenes import HELD_OUT
from lisa_core.data.synth import SynthConfig, make_scene, synthesize
from lisa_core.errors import ConfigError, DataError

CONFIG = SynthConfig(train=12, val=6, test=6, size=128, seed=3)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("synth") / "scenes"
    synthesize(directory, CONFIG)
    return directory


def contents(directory: Path, pattern: str = "**/*") -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.glob(pattern) if path.is_file()
    }


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not(written: Path, tmp_path: Path) -> None:
    again = synthesize(tmp_path / "again", CONFIG)
    assert contents(tmp_path / "again") == contents(written)
    other = synthesize(tmp_path / "other", SynthConfig(train=12, val=6, test=6, size=128, seed=4))
    assert other["sha256"] != again["sha256"]
    assert contents(tmp_path / "other", "train/*.json") != contents(written, "train/*.json")


def test_a_split_does_not_depend_on_the_others(written: Path, tmp_path: Path) -> None:
    synthesize(tmp_path / "fewer", SynthConfig(train=2, val=6, test=0, size=128, seed=3))
    assert contents(tmp_path / "fewer", "val/*") == contents(written, "val/*")
    few, many = contents(tmp_path / "fewer", "train/*"), contents(written, "train/*")
    assert few and few.items() <= many.items()
    assert contents(written, "val/*").keys() & contents(written, "train/*").keys() == set()


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_masks_on_disk_are_the_visible_pixels(written: Path, split: str) -> None:
    data = ReasonSeg(written, split, "first")
    for code, name in enumerate(("train", "val", "test")):
        if name != split:
            continue
        for index in range(getattr(CONFIG, split)):
            rng = np.random.default_rng(np.random.SeedSequence([CONFIG.seed, code, index]))
            scene, expressions = make_scene(rng, CONFIG, held_out=split == "test")
            for number, expression in enumerate(expressions):
                position = next(i for i, s in enumerate(data.samples) if s.id == f"scene_{index:05d}_{number}#0")
                example = data.load(position)
                assert np.array_equal(example.mask == 1, scene.masks[expression.target])
                assert np.abs(np.asarray(example.image, dtype=int) - scene.image).mean() < 6


def test_the_summary_counts_what_is_there(written: Path) -> None:
    summary = json.loads((written / "synth.json").read_text())
    assert summary["complete"] and summary["settings"]["seed"] == 3
    for split in ("train", "val", "test"):
        counts, data = summary["counts"][split], ReasonSeg(written, split)
        assert counts["texts"] == len(data)
        assert counts["annotations"] == len(list((written / split).glob("*.json")))
        assert counts["images"] == getattr(CONFIG, split) == len(group_by_image(data.samples))
    assert sum(summary["kinds"].values()) == sum(counts["annotations"] for counts in summary["counts"].values())


def test_every_file_has_one_to_three_texts_of_its_form(written: Path) -> None:
    for path in (written / "train").glob("*.json"):
        annotation = json.loads(path.read_text())
        texts = annotation["text"]
        assert 1 <= len(texts) <= 3 and len(set(texts)) == len(texts)
        assert all(bool(re.fullmatch(r"[A-Z].*[.?]", text)) == annotation["is_sentence"] for text in texts)
        assert {shape["label"] for shape in annotation["shapes"]} == {"target"}


def test_a_scene_describes_distinct_objects_in_byte_equal_pictures(written: Path) -> None:
    data = ReasonSeg(written, "train", "first")
    for group in group_by_image(data.samples):
        assert 2 <= len(group) <= 4
        masks = [data.load(index).mask for index in group]
        for first in range(len(masks)):
            for second in range(first):
                assert not (masks[first] & masks[second]).any()


def test_pictures_are_copied_where_links_are_not_to_be_had(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refuse)
    synthesize(tmp_path / "copied", CONFIG)
    assert contents(tmp_path / "copied") == contents(written)


def test_held_out_pairs_are_in_every_test_scene_and_in_no_other() -> None:
    for index in range(40):
        scene, _ = make_scene(np.random.default_rng(index), CONFIG)
        assert not {(item.colour, item.shape) for item in scene.objects} & HELD_OUT
        scene, expressions = make_scene(np.random.default_rng(index), CONFIG, held_out=True)
        described = {(scene.objects[e.target].colour, scene.objects[e.target].shape) for e in expressions}
        assert described & HELD_OUT


def test_one_object_is_enough() -> None:
    for held_out in (False, True):
        config = SynthConfig(min_objects=1, max_objects=1)
        scene, expressions = make_scene(np.random.default_rng(0), config, held_out=held_out)
        assert len(scene.objects) == len(expressions) == 1


def test_progress_counts_every_picture(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    synthesize(tmp_path, SynthConfig(train=2, val=1, test=0, size=64), progress=lambda *at: seen.append(at))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert not (tmp_path / "test").exists()


def test_all_faults_are_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        synthesize("unused", SynthConfig(train=-1, size=8, seed=-2, min_objects=0))
    for part in ("train is -1", "size is 8", "seed is -2", "objects are 0 to 4"):
        assert part in str(caught.value)
    assert not Path("unused").exists()


def test_foreign_folders_and_files_are_left_alone(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("years of work")
    for force in (False, True):
        with pytest.raises(DataError, match="was not written by"):
            synthesize(foreign, CONFIG, force=force)
    assert contents(foreign) == {"thesis.txt": b"years of work"}
    with pytest.raises(DataError, match="is a file"):
        synthesize(foreign / "thesis.txt", CONFIG)
    with pytest.raises(DataError, match="cannot be written"):
        synthesize(foreign / "thesis.txt" / "below", CONFIG)


def test_force_clears_our_scenes_only(tmp_path: Path) -> None:
    synthesize(tmp_path, SynthConfig(train=3, val=0, test=0, size=64))
    (tmp_path / "train" / "scene_notes.txt").write_text("mine")
    summary = synthesize(tmp_path, SynthConfig(train=1, val=0, test=0, size=64), force=True)
    names = {path.name for path in (tmp_path / "train").iterdir()}
    assert len(names) == 1 + 2 * summary["counts"]["train"]["annotations"] and "scene_notes.txt" in names


def test_an_interrupted_run_can_be_repeated(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        raise KeyboardInterrupt

    config = SynthConfig(train=2, val=0, test=0, size=64)
    with pytest.raises(KeyboardInterrupt):
        synthesize(tmp_path, config, progress=interrupt)
    assert json.loads((tmp_path / "synth.json").read_text())["complete"] is False
    assert synthesize(tmp_path, config, force=True)["complete"] is True


@pytest.mark.parametrize(
    ("comparing", "low", "high"), [(0.0, 0.0, 0.05), (0.2, 0.1, 0.3), (0.6, 0.4, 0.65), (1.0, 0.9, 1.0)]
)
def test_sentences_that_compare_have_their_share(tmp_path: Path, comparing: float, low: float, high: float) -> None:
    kinds = synthesize(tmp_path / "x", SynthConfig(train=60, val=0, test=0, size=64, comparing=comparing))["kinds"]
    share = 1 - kinds.get("attribute", 0) / sum(kinds.values())
    assert low <= share <= high, kinds


def test_the_share_is_one() -> None:
    with pytest.raises(ConfigError, match=r"comparing is 1\.5, not a share from 0 to 1"):
        synthesize("unused", SynthConfig(comparing=1.5))
