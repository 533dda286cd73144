"""Figures by kind of expression."""

from __future__ import annotations

import json
from pathlib import Path

import kinds
import pytest

from lisa_core.errors import ConfigError, DataError
from lisa_core.evaluation_file import write_evaluation
from lisa_core.records import SampleRecord


@pytest.fixture
def evaluated(tmp_path: Path) -> tuple[Path, Path]:
    """Annotations of three objects, and what an evaluation says of them."""
    (tmp_path / "data" / "val").mkdir(parents=True)
    told = [("noun", True), ("noun", True), ("size", False)]
    for number, (kind, known) in enumerate(told):
        path = tmp_path / "data" / "val" / f"scene_00000_{number}.json"
        path.write_text(json.dumps({"kind": kind, "words_known": known, "text": ["a bird", "the crow"]}))
    records = [
        record(0, "scene_00000_0#0", 80, 2, 2),
        record(1, "scene_00000_1#1", 4, 1, 2),
        record(2, "scene_00000_2#0", 50, 0, 0),
    ]
    return tmp_path / "data", write_evaluation(tmp_path / "eval_val.json", {"split": "val"}, records)


def record(index: int, identity: str, percent: int, hits: int, pairs: int) -> SampleRecord:
    """A sentence whose mask has an IoU of so many percent."""
    return SampleRecord(
        index=index,
        id=identity,
        text="the crow",
        is_sentence=False,
        image="scene_00000_0.jpg",
        picture="scene_00000",
        source="reasonseg",
        intersection=percent,
        union=100,
        truth_pixels=100,
        predicted_pixels=percent,
        counted_pixels=1000,
        listening_hits=hits,
        listening_pairs=pairs,
        blind={},
    )


def test_each_kind_has_a_line_known_nouns_first(evaluated: tuple[Path, Path]) -> None:
    lines = kinds.table(kinds.tallies(*evaluated)).splitlines()
    assert lines[2:] == ["| noun | known | 2 | 0.420 | 0.500 | 0.750 |", "| size | unknown | 1 | 0.500 | 0.000 | — |"]


def test_what_does_not_belong_together_is_named(evaluated: tuple[Path, Path], tmp_path: Path) -> None:
    data, evaluation = evaluated
    with pytest.raises(ConfigError, match=r"absent\.json does not exist: give a file that `lisa eval` wrote"):
        kinds.tallies(data, tmp_path / "absent.json")
    (tmp_path / "damaged.json").write_text('{"split": "val", "samples": [{"id": "scene_00000_0#0"}]}')
    with pytest.raises(ConfigError, match=r"damaged\.json is no evaluation"):
        kinds.tallies(data, tmp_path / "damaged.json")
    of_others = json.dumps({"kind": "size", "words_known": False, "text": ["the larger crow"]})
    (data / "val" / "scene_00000_2.json").write_text(of_others)
    with pytest.raises(DataError, match=r"scene_00000_2\.json does not say 'the crow': give the data that .* is of"):
        kinds.tallies(data, evaluation)
    (data / "val" / "scene_00000_2.json").write_text("[1]")
    with pytest.raises(DataError, match=r"scene_00000_2\.json is no annotation of the benchmark"):
        kinds.tallies(data, evaluation)
    (data / "val" / "scene_00000_2.json").unlink()
    with pytest.raises(DataError, match=r"scene_00000_2\.json is no annotation of the benchmark"):
        kinds.tallies(data, evaluation)
