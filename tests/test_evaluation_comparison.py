from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from lisa_core.errors import ConfigError
from lisa_core.evaluation_comparison import Difference, compare_evaluations, verdict
from lisa_core.records import SampleRecord
from lisa_core.summary import Settings, summarize

FEW = Settings(resamples=400)


def record(k: int, hits: int, **changes) -> SampleRecord:
    """A sentence whose mask is a part of its truth of 100 pixels; two sentences a picture."""
    fields = {
        **{"index": k, "id": f"{k}#0", "text": f"thing {k}", "is_sentence": False, "image": f"{k // 2}.jpg"},
        **{"picture": f"{k // 2 * 2}#0", "source": "ab"[k % 2], "counted_pixels": 1000, "score": 0.5},
    }
    return SampleRecord(**{**fields, **changes}, intersection=hits, union=100, truth_pixels=100, predicted_pixels=hits)


def two(shift: int, noise: int = 5, n: int = 120) -> tuple[list[SampleRecord], list[SampleRecord]]:
    """Evaluations that agree on what is hard; the second is better by `shift` pixels, more or less."""
    rng = np.random.default_rng(0)
    hits = rng.integers(20, 80, n)
    moved = np.clip(hits + shift + rng.integers(-noise, noise + 1, n), 0, 100)
    return [record(k, int(h)) for k, h in enumerate(hits)], [record(k, int(h)) for k, h in enumerate(moved)]


def test_differences_are_those_of_the_two_summaries():
    a, b = two(4)
    comparison = compare_evaluations(a, b, FEW)
    of_a, of_b = summarize(a, FEW).whole.figures, summarize(b, FEW).whole.figures
    assert set(comparison.whole.figures) == set(of_a)
    for name, found in comparison.whole.figures.items():
        assert (found.a, found.b) == (of_a[name].value, of_b[name].value)
        assert found.difference == pytest.approx(found.b - found.a, abs=1e-12)
    groups = comparison.breakdowns["source"]
    assert {name: group.n for name, group in groups.items()} == {"a": 60, "b": 60}
    own = [r for r in b if r.source == "a"]
    assert groups["a"].figures["giou"].b == pytest.approx(sum(r.iou for r in own) / 60)


def test_pairing_shows_a_difference_that_the_intervals_of_each_do_not():
    a, b = two(2)
    giou = compare_evaluations(a, b, FEW).whole.figures["giou"]
    of_a, of_b = (summarize(records, FEW).whole.figures["giou"] for records in (a, b))
    assert of_b.low < of_a.high, "each by itself might be either"
    assert giou.low > 0 and verdict("giou", giou) == "B better"
    assert giou.low < giou.difference < giou.high
    back = compare_evaluations(b, a, FEW).whole.figures["giou"]
    assert (back.low, back.high) == pytest.approx((-giou.high, -giou.low))
    assert verdict("giou", back) == "A better"


def test_the_same_twice_differs_in_nothing():
    a, _ = two(0)
    comparison = compare_evaluations(a, list(reversed(a)), FEW)
    for name, found in comparison.whole.figures.items():
        assert (found.difference, found.low, found.high) == (0, 0, 0)
        assert verdict(name, found) == "equal"
    assert comparison.to_dict()["changed"] == []


def test_noise_alone_is_seldom_taken_for_a_difference():
    rng = np.random.default_rng(1)
    decided = 0
    for trial in range(100):
        hits = rng.integers(10, 90, 80)
        pairs = [
            (record(k, int(h + x)), record(k, int(h + y)))
            for k, (h, x, y) in enumerate(zip(hits, *rng.integers(-10, 11, (2, 80))))
        ]
        a, b = zip(*pairs)
        decided += compare_evaluations(a, b, Settings(resamples=200, seed=trial)).whole.figures["giou"].is_decided
    assert decided <= 15  # 5 are expected


def test_what_is_better_depends_on_the_figure():
    up, down = Difference(0.1, 0.3, 0.2, 0.1, 0.3), Difference(0.3, 0.1, -0.2, -0.3, -0.1)
    assert [verdict("ciou", d) for d in (up, down)] == ["B better", "A better"]
    assert [verdict("calibration_error", d) for d in (up, down)] == ["A better", "B better"]
    assert verdict("blank_giou", up) == "differs"
    assert verdict("ciou", Difference(0.1, 0.3, 0.2, -0.1, 0.5)) == verdict("ciou", Difference(0, 1, 1, None, None))


def test_equal_means_the_same_whatever_the_pictures():
    assert verdict("ciou", Difference(0.5, 0.5, 0.0, 0.0, 0.0)) == "equal"
    assert verdict("ciou", Difference(0.5, 0.5, 0.0, None, None)) == "equal"
    assert verdict("ciou", Difference(0.5, 0.5, 0.0, -0.1, 0.1)) == "not decided", "other pictures might tell"
    assert verdict("ciou", Difference(0.5, 0.75, 0.25, 0.0, 0.5)) == "not decided"


def test_what_changed_most_comes_first():
    a, _ = two(0, n=10)
    b = list(a)
    b[3], b[7] = record(3, 100), record(7, a[7].intersection + 1)
    comparison = compare_evaluations(a, b, FEW)
    changed = comparison.to_dict()["changed"]
    assert [one["id"] for one in changed] == ["3#0", "7#0"]
    assert changed[0]["difference"] == pytest.approx(1 - a[3].iou) and changed[0]["text"] == "thing 3"
    plain = comparison.to_dict()
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_other_sentences_are_refused_or_left_out():
    a, b = two(3, n=12)
    with pytest.raises(ConfigError, match=r"2 only in A, 1 only in B, 9 in both.*--common"):
        compare_evaluations(a[:11], b[2:], FEW)
    comparison = compare_evaluations(a[:11], b[2:], FEW, common=True)
    assert comparison.left_out == (2, 1) and comparison.whole.n == 9
    with pytest.raises(ConfigError, match="no sentence in common"):
        compare_evaluations(a[:3], b[3:], FEW, common=True)


def test_the_same_ids_of_other_data_are_refused():
    a, b = two(3, n=4)
    for other in (replace(b[1], text="another"), replace(b[1], counted_pixels=999)):
        with pytest.raises(ConfigError, match="'1#0' has another sentence or truth in A than in B"):
            compare_evaluations(a, [b[0], other, *b[2:]], FEW, common=True)
