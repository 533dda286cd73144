from __future__ import annotations

import json

import numpy as np
import pytest

from lisa_core.records import SampleRecord
from lisa_core.summary import Settings, places_of, summarize


def record(k: int, iou: float = 0.5, **changes) -> SampleRecord:
    truth = changes.pop("truth", 100)
    fields = {
        **{"index": k, "id": f"{k}#0", "text": "the red ring", "is_sentence": False, "image": f"{k}.jpg"},
        **{"picture": f"{k // 2}#0", "source": "one", "counted_pixels": 1000, "score": 0.5},
    }
    shared = round(iou * truth)
    return SampleRecord(
        **{**fields, **changes}, intersection=shared, union=truth, truth_pixels=truth, predicted_pixels=shared
    )


def test_every_record_is_in_one_group_of_each_breakdown():
    records = [
        record(0, text="it", truth=5),
        record(1, text="a b c d", source="two", truth=10),
        record(2, text="a b c", is_sentence=True, truth=0),
        record(3, text="w " * 20, truth=1000),
        record(4, text="w " * 15, truth=200),
    ]
    places = places_of(records)
    for groups in places.values():
        assert sorted(place for members in groups.values() for place in members) == [0, 1, 2, 3, 4]
    assert places["source"] == {"one": [0, 2, 3, 4], "two": [1]}
    assert places["form"] == {"phrase": [0, 1, 3, 4], "sentence": [2]}
    assert places["text length"] == {
        "1 to 3 words": [0, 2],
        "4 to 7 words": [1],
        "8 to 15 words": [4],
        "16 words or more": [3],
    }
    assert places["mask size"] == {
        "no target": [2],
        "below 1% of the picture": [0],
        "1% to 5%": [1],
        "20% or more": [3, 4],
    }
    assert list(places["mask size"]) == ["no target", "below 1% of the picture", "1% to 5%", "20% or more"]


def test_figures_of_groups_are_those_of_their_records():
    rng = np.random.default_rng(0)
    records = [record(k, float(rng.random()), source="ab"[k % 3 == 0]) for k in range(60)]
    summary = summarize(records, Settings(resamples=200))
    assert (summary.whole.n, summary.whole.pictures) == (60, 30)
    for name, group in summary.breakdowns["source"].items():
        own = [r for r in records if r.source == name]
        alone = summarize(own, Settings(resamples=200)).whole
        assert group == alone and group.n == len(own)
        assert group.figures["giou"].value == pytest.approx(sum(r.iou for r in own) / len(own))
    giou = summary.whole.figures["giou"]
    assert giou.low < giou.value < giou.high and giou.high - giou.low < 0.3
    assert "n_acc" not in summary.whole.figures, "there is no sentence without a target"


def test_settings_reach_the_figures_and_the_record():
    records = [record(k, 0.1 * k) for k in range(8)]
    loose = summarize(records, Settings(epsilon=10.0, no_target_pixels=45, resamples=50, seed=4))
    assert loose.whole.figures["giou_epsilon"].value == pytest.approx(np.mean([10 * k / 110 for k in range(8)]))
    assert loose.whole.figures["t_acc"].value == 3 / 8
    again = summarize(records, Settings(resamples=50, seed=5)).whole.figures["giou"]
    assert (again.low, again.high) != (loose.whole.figures["giou"].low, loose.whole.figures["giou"].high)
    plain = loose.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain
    assert (plain["epsilon"], plain["resamples"], plain["seed"]) == (10.0, 50, 4)


def test_one_picture_has_no_interval():
    giou = summarize([record(0), record(1)]).whole.figures["giou"]
    assert giou.value == 0.5 and giou.low is None and giou.high is None
    without = summarize([record(0), record(5)], Settings(resamples=0)).whole.figures["giou"]
    assert without.low is None
    with pytest.raises(ValueError, match="no sentence"):
        summarize([])
