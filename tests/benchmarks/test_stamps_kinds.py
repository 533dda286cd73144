"""Figures by kind of expression."""

from __future__ import annotations

import json
from pathlib import Path

import kinds
import pytest

from lisa_core.errors import DataError


@pytest.fixture
def evaluated(tmp_path: Path) -> tuple[Path, Path]:
    """Annotations of three objects, and what an evaluation says of them."""
    (tmp_path / "data" / "val").mkdir(parents=True)
    told = [("noun", True), ("noun", True), ("size", False)]
    for number, (kind, known) in enumerate(told):
        path = tmp_path / "data" / "val" / f"scene_00000_{number}.json"
        path.write_text(json.dumps({"kind": kind, "words_known": known}))
    samples = [
        {"id": "scene_00000_0#0", "iou": 0.8, "listening_hits": 2, "listening_pairs": 2},
        {"id": "scene_00000_1#1", "iou": 0.04, "listening_hits": 1, "listening_pairs": 2},
        {"id": "scene_00000_2#0", "iou": 0.5, "listening_hits": 0, "listening_pairs": 0},
    ]
    (tmp_path / "eval_val.json").write_text(json.dumps({"split": "val", "samples": samples}))
    return tmp_path / "data", tmp_path / "eval_val.json"


def test_each_kind_has_a_line_known_nouns_first(evaluated: tuple[Path, Path]) -> None:
    lines = kinds.table(kinds.tallies(*evaluated)).splitlines()
    assert lines[2:] == ["| noun | known | 2 | 0.420 | 0.500 | 0.750 |", "| size | unknown | 1 | 0.500 | 0.000 | — |"]


def test_what_does_not_belong_together_is_named(evaluated: tuple[Path, Path], tmp_path: Path) -> None:
    data, evaluation = evaluated
    with pytest.raises(DataError, match=r"absent\.json is not what `lisa eval` wrote"):
        kinds.tallies(data, tmp_path / "absent.json")
    (tmp_path / "damaged.json").write_text('{"split": "val", "samples": [{"id": "scene_00000_0#0"}]}')
    with pytest.raises(DataError, match=r"damaged\.json is not what `lisa eval` wrote"):
        kinds.tallies(data, tmp_path / "damaged.json")
    (data / "val" / "scene_00000_2.json").write_text("[1]")
    with pytest.raises(DataError, match=r"scene_00000_2\.json is no annotation of the benchmark"):
        kinds.tallies(data, evaluation)
    (data / "val" / "scene_00000_2.json").unlink()
    with pytest.raises(DataError, match=r"scene_00000_2\.json is no annotation of the benchmark"):
        kinds.tallies(data, evaluation)
