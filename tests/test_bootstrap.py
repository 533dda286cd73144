from __future__ import annotations

import time

import numpy as np
import pytest

from lisa_core.bootstrap import by_picture, interval, resampled


def test_sentences_of_a_picture_are_summed():
    rows = np.array([[1.0, 10], [2, 20], [4, 40]])
    assert by_picture(rows, ["b", "a", "b"]).tolist() == [[5, 50], [2, 20]]


def test_resamples_are_totals_of_as_many_pictures():
    sums = np.array([[1.0, 1.0], [1.0, 100.0], [1.0, 10_000.0]])
    drawn = resampled(sums, 500, seed=3)
    assert drawn.shape == (500, 2) and set(drawn[:, 0]) == {3.0}
    # The second column's decimal digits say how often each picture was drawn.
    counts = np.stack([drawn[:, 1] // 100**k % 100 for k in range(3)], 1)
    assert (counts.sum(1) == 3).all()
    assert counts.mean(0) == pytest.approx([1, 1, 1], abs=0.15)
    assert counts.var(0) == pytest.approx([2 / 3] * 3, abs=0.12), "multinomial: p (1 - p) n"


def test_the_seed_decides_and_chunks_do_not(monkeypatch):
    sums = np.random.default_rng(0).random((50, 3))
    drawn = resampled(sums, 40, seed=1)
    assert np.array_equal(resampled(sums, 40, seed=1), drawn)
    assert not np.array_equal(resampled(sums, 40, seed=2), drawn)
    assert np.allclose(resampled(sums[:, :1], 40, seed=1), drawn[:, :1]), "other columns draw no other pictures"
    monkeypatch.setattr("lisa_core.bootstrap._CHUNK", 350)
    assert np.allclose(resampled(sums, 40, seed=1), drawn)
    assert resampled(sums, 0, seed=1).shape == (0, 3)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        # 60 pictures of 1 to 4 sentences that share their picture's luck; the true mean is 0.
        sentences = rng.integers(1, 5, 60)
        luck = rng.normal(size=60)
        low, high = interval(np.divide(*resampled(np.stack([luck * sentences, sentences], 1), 400, trial).T))
        held += low <= 0 <= high
    assert held / 300 == pytest.approx(0.95, abs=0.035)


def test_drawing_sentences_would_make_it_too_narrow():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=40), 25)
    pictures = [str(k // 25) for k in range(1000)]
    rows = np.stack([values, np.ones(1000)], 1)
    width = [
        high - low
        for low, high in (
            interval(np.divide(*resampled(by_picture(rows, names), 400).T))
            for names in (pictures, [str(k) for k in range(1000)])
        )
    ]
    assert width[0] == pytest.approx(5 * width[1], rel=0.3)  # sqrt(25)


def test_percentiles_by_hand():
    values = np.array([np.nan, *range(101)])
    assert interval(values, 0.9) == pytest.approx((5, 95))
    assert interval(np.array([np.nan])) is None


def test_ten_thousand_pictures_take_little():
    sums = np.random.default_rng(0).random((10_000, 66))
    begin = time.process_time()
    resampled(sums, 1000)
    assert time.process_time() - begin < 20  # 0.7 s on an idle core
