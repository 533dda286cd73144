"""Captions for aligning a projector: read by the library, of training scenes alone, in the order of the picture."""

from __future__ import annotations

import json
from pathlib import Path

import captions
import pytest
from catalogue import Material
from scene_files import SIDECAR, VERSION
from scenes import MANIFEST, Counts, synthesize

from lisa_core.data import open_dataset
from lisa_core.errors import DataError


def test_they_are_conversations_about_training_scenes(material: Material, tmp_path: Path) -> None:
    synthesize(tmp_path / "data", material, Counts(train=6, val=2, test_unseen=2), seed=1)
    assert captions.write(tmp_path / "data", tmp_path / "captions", material) == 6
    dataset = open_dataset(tmp_path / "captions", "train")
    assert len(dataset) == 6 and {sample.kind for sample in dataset.samples} == {"text"}
    records = [one for one in json.loads((tmp_path / "data" / SIDECAR).read_text()) if one["split"] == "train"]
    for record, sample in zip(records, dataset.samples):
        places = sorted((thing["left"], thing["stamp"]) for thing in record["objects"])
        assert sample.answer is not None and "<image>" not in sample.text
        position = 0
        for _, stamp in places:  # each is named after the one to its left
            name = next(one for one in material.stamps if one.key == stamp).words.names[0]
            position = sample.answer.lower().index(name, position) + len(name)
        assert dataset.load(dataset.samples.index(sample)).image.size == tuple(record["size"])


def test_names_get_their_article() -> None:
    names = {"a": "apple", "b": "scissors", "c": "drinking glass", "d": "bus", "e": "planet Mars", "f": "VW Beetle"}
    record = {"objects": [{"stamp": "c", "left": 60}, {"stamp": "a", "left": 5}, {"stamp": "b", "left": 30}]}
    assert captions.caption(record, names) == "An apple, scissors and a drinking glass."
    assert captions.caption({"objects": record["objects"][:1]}, names) == "A drinking glass."
    record = {"objects": [{"stamp": stamp, "left": place} for place, stamp in enumerate("def")]}
    assert captions.caption(record, names) == "A bus, planet Mars and a VW Beetle."


def test_what_is_missing_or_in_the_way_is_said(material: Material, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(DataError, match=r"is not a benchmark that scenes\.py wrote"):
        captions.write(tmp_path, tmp_path / "out", material)
    told = {"complete": True, "version": VERSION, "sha256": "", "written_with": {}}
    (tmp_path / MANIFEST).write_text(json.dumps(told))
    record = {"split": "train", "scene": 3, "objects": [{"stamp": material.stamps[0].key, "left": 0}]}
    (tmp_path / SIDECAR).write_text(json.dumps([record]))
    with pytest.raises(DataError, match=r"scene_00003_0\.jpg: No such file"):
        captions.write(tmp_path, tmp_path / "partial", material)
    with monkeypatch.context() as full:
        full.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(DataError, match="full: No space left on device"):
            captions.write(tmp_path, tmp_path / "full", material)
    (tmp_path / SIDECAR).write_text("[{")
    with pytest.raises(DataError, match=r"is not a benchmark that scenes\.py wrote"):
        captions.write(tmp_path, tmp_path / "out", material)
    (tmp_path / SIDECAR).write_text("[]")
    with pytest.raises(DataError, match="is there already"):
        captions.write(tmp_path, tmp_path, material)
    with pytest.raises(DataError, match="has no scenes to train on"):
        captions.write(tmp_path, tmp_path / "out", material)
    (tmp_path / SIDECAR).write_text("[{}]")
    with pytest.raises(DataError, match=r"is not a benchmark that scenes\.py wrote \('split'\)"):
        captions.write(tmp_path, tmp_path / "out", material)
    (tmp_path / MANIFEST).write_text(json.dumps({"complete": True, "version": VERSION}))
    with pytest.raises(DataError, match="unfinished or of another version"):
        captions.write(tmp_path, tmp_path / "out", material)
