"""Draws by rate: shares, passes without repeats, and a sequence that nothing but the seed decides."""

from __future__ import annotations

from collections import Counter
from itertools import chain, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lisa_core.data.rates import Rates
from lisa_core.data.sampler import DrawSampler, SentenceBatchSampler

SIZES = (900, 350, 3000, 50)
RATES = (9.0, 3.0, 3.0, 1.0)


def groups_of(sizes: tuple[int, ...] | list[int], per_picture: int = 3) -> tuple[list[list[int]], list[list[int]]]:
    """Pictures of so many samples each, for datasets of these sizes."""
    groups: list[list[int]] = []
    numbers: list[list[int]] = []
    start = 0
    for size in sizes:
        own = [
            list(range(first, min(first + per_picture, start + size)))
            for first in range(start, start + size, per_picture)
        ]
        numbers.append(list(range(len(groups), len(groups) + len(own))))
        groups += own
        start += size
    return groups, numbers


def sampler_of(
    sizes: tuple[int, ...] | list[int] = SIZES,
    rates: tuple[float, ...] | list[float] = RATES,
    draws: int = 5000,
    cls: type[SentenceBatchSampler] = SentenceBatchSampler,
    **how: int,
) -> SentenceBatchSampler:
    groups, numbers = groups_of(sizes)
    how = {"batch_size": 8, "sentences_per_image": 2, "seed": 3, **how}
    return cls(groups, rates=Rates(groups, numbers, rates, draws), **how)


def epochs(sampler: SentenceBatchSampler, count: int) -> list[int]:
    found: list[int] = []
    for epoch in range(1, count + 1):
        sampler.set_epoch(epoch)
        found += chain(*sampler)
    return found


def dataset_of(index: int) -> int:
    return next(number for number, end in enumerate((900, 1250, 4250, 4300)) if index < end)


@pytest.mark.parametrize("draws", [100_000, 5000, 777])
def test_rates_hold_within_one_percent_over_100000_draws(draws: int):
    order = epochs(sampler_of(draws=draws), -(-100_000 // draws))[:100_000]
    counts = Counter(map(dataset_of, order))
    for number, rate in enumerate(RATES):
        wanted = 100_000 * rate / sum(RATES)
        assert abs(counts[number] - wanted) < 0.01 * wanted
    # All along, not at the end only.
    for start in range(0, 100_000, 10_000):
        part = Counter(map(dataset_of, order[start : start + 10_000]))
        assert all(abs(part[number] / 10_000 - rate / sum(RATES)) < 0.01 for number, rate in enumerate(RATES))


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.integers(1, 40), st.floats(0.01, 10)), min_size=1, max_size=5),
    st.integers(1, 400),
    st.integers(0, 3),
)
def test_no_sample_comes_again_before_all_others_of_its_dataset(parts, draws, seed):
    sizes, rates = [size for size, _ in parts], [rate for _, rate in parts]
    order = epochs(sampler_of(sizes, rates, draws, seed=seed), 4)
    assert len(order) == 4 * draws
    ends = [sum(sizes[: number + 1]) for number in range(len(sizes))]
    for end, size, rate in zip(ends, sizes, rates):
        own = [index for index in order if end - size <= index < end]
        for start in range(0, len(own), size):
            assert len(set(own[start : start + size])) == len(own[start : start + size])
        assert abs(len(own) - len(order) * rate / sum(rates)) <= len(sizes)


def test_datasets_are_mixed_and_their_passes_differ():
    order = epochs(sampler_of(), 2)
    kinds = [dataset_of(index) for index in order]
    assert max(len(run) for run in "".join(map(str, kinds)).split("0")) < 40
    small = [index for index in order if dataset_of(index) == 3]
    assert sorted(small[:50]) == sorted(small[50:100]) and small[:50] != small[50:100]
    assert epochs(sampler_of(seed=4), 2) != order


def test_sentences_of_a_picture_stand_together():
    order = epochs(sampler_of(sizes=(900,), rates=(1.0,), draws=900), 1)
    pairs = sum(a // 3 == b // 3 for a, b in pairwise(order))
    assert pairs >= 290  # one for each picture, but for the few that a block's end cuts


@pytest.mark.parametrize("cls", [SentenceBatchSampler, DrawSampler])
@pytest.mark.parametrize("world_size", [pytest.param(1, marks=pytest.mark.slow), 2, 4])
def test_the_same_sequence_after_resuming_at_any_step_and_on_more_processes(cls, world_size: int):
    """Of a step, all processes together have the same samples; one process resumes at each step of an epoch."""
    sizes, draws = (90, 35, 300, 5), 90  # the smallest begins anew within an epoch
    whole = sampler_of(sizes, draws=draws, batch_size=8)
    for epoch in (1, 4):
        whole.set_epoch(epoch)
        order = list(chain(*whole))
        assert len(order) == draws
        how = {"batch_size": 8 // world_size, "world_size": world_size, "sentences_per_image": 2}
        for first_step in range(whole.steps):
            ranks = []
            for rank in range(world_size):
                again = sampler_of(sizes, draws=draws, cls=cls, rank=rank, **how)
                again.set_epoch(epoch, first_step)
                ranks.append(list(again))
            merged = [item for micros in zip(*ranks) for micro in micros for item in micro]
            assert [getattr(item, "index", item) for item in merged] == order[8 * first_step :]


def test_draws_of_a_sample_that_comes_twice_in_a_step_stand_for_it_once():
    sampler = sampler_of(sizes=(2,), rates=(1.0,), draws=8, cls=DrawSampler)
    sampler.set_epoch(1)
    assert all(draw.together == (0, 1) for batch in sampler for draw in batch)
