from __future__ import annotations

from itertools import chain, groupby

from hypothesis import given
from hypothesis import strategies as st

from lisa_core.data.sampler import DrawSampler, SentenceBatchSampler

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=12)
"""How many sentences each picture has."""


def pictures(sizes: list[int]) -> list[list[int]]:
    """Sample indices by picture; those of one picture need not be neighbours in the dataset."""
    indices = list(range(sum(sizes)))
    return [[indices.pop(0 if number % 2 else -1) for _ in range(size)] for number, size in enumerate(sizes)]


def epoch(sampler: SentenceBatchSampler, number: int) -> list[list[int]]:
    sampler.set_epoch(number)
    return list(sampler)


@given(SIZES, st.integers(1, 10), st.integers(1, 5), st.integers(0, 3))
def test_every_sample_comes_once_in_batches_of_the_size_asked_for(sizes, batch_size, per_image, number):
    sampler = SentenceBatchSampler(pictures(sizes), batch_size, per_image, seed=0)
    batches = epoch(sampler, number)
    assert sorted(chain(*batches)) == list(range(sum(sizes)))
    assert all(len(batch) == batch_size for batch in batches[:-1]) and 1 <= len(batches[-1]) <= batch_size
    assert len(sampler) == len(batches)


@given(SIZES, st.integers(1, 10), st.integers(1, 5), st.integers(0, 3))
def test_sentences_of_a_picture_stand_together_but_not_too_many_of_them(sizes, batch_size, per_image, number):
    groups = pictures(sizes)
    picture = {index: number for number, group in enumerate(groups) for index in group}
    order = [picture[index] for index in chain(*epoch(SentenceBatchSampler(groups, batch_size, per_image, 0), number))]
    runs = [(shown, len(list(run))) for shown, run in groupby(order)]
    most = min(per_image, batch_size)
    # Never torn further apart than the limit asks for.
    for shown, size in enumerate(sizes):
        assert sum(run == shown for run, _ in runs) <= -(-size // most)
    # A longer run is possible only where nothing but this picture is left: at the end.
    assert all(length <= most for _, length in runs[:-1])


def encodings(groups: list[list[int]], batches: list[list[int]]) -> int:
    """How many pictures all batches hold together."""
    picture = {index: number for number, group in enumerate(groups) for index in group}
    return sum(len({picture[index] for index in batch}) for batch in batches)


@given(st.integers(0, 5), st.sampled_from([8, 16]))
def test_pictures_that_fit_into_a_batch_together_stand_in_one(seed, batch_size):
    groups = pictures([6, 2, 5, 3, 4, 4] * 20)
    batches = epoch(SentenceBatchSampler(groups, batch_size, 8, seed), 0)
    assert encodings(groups, batches) <= len(groups) + 6, "but for some of the last"
    # They are not the same neighbours each time, nor is the order that of their sizes.
    others = epoch(SentenceBatchSampler(groups, batch_size, 8, seed), 1)
    assert len({tuple(sorted(batch)) for batch in batches} & {tuple(sorted(batch)) for batch in others}) < 10
    large = [number for number, group in enumerate(groups) if len(group) == 6]
    first_half = set(chain(*batches[: len(batches) // 2]))
    assert 4 <= sum(bool(first_half & set(groups[number])) for number in large) <= 16


@given(SIZES, st.integers(0, 5), st.integers(0, 5))
def test_seed_and_epoch_alone_decide_the_order(sizes, seed, number):
    first, second = (SentenceBatchSampler(pictures(sizes), 4, 2, seed) for _ in range(2))
    epoch(second, number + 1)  # what was drawn before does not matter
    assert epoch(first, number) == epoch(second, number)


def test_epochs_and_seeds_differ():
    groups = pictures([3] * 20)
    orders = [epoch(SentenceBatchSampler(groups, 4, 2, seed), number) for seed in range(3) for number in range(3)]
    assert len({tuple(chain(*order)) for order in orders}) == 9
    # The pictures come in another order, and others of their sentences stand together.
    picture = {index: number for number, group in enumerate(groups) for index in group}
    assert len({tuple(picture[index] for index in chain(*order)) for order in orders}) == 9
    assert len({frozenset(map(frozenset, order)) for order in orders}) == 9


@given(SIZES, st.integers(1, 6), st.integers(1, 5), st.integers(0, 3), st.integers(1, 3), st.integers(0, 4))
def test_draws_are_the_same_order_with_what_stands_together_in_a_step(
    sizes, batch_size, per_image, number, accumulation, first_step
):
    groups = pictures(sizes)
    plain = SentenceBatchSampler(groups, batch_size, per_image, 0, accumulation)
    drawn = DrawSampler(groups, batch_size, per_image, 0, accumulation)
    for sampler in (plain, drawn):
        sampler.set_epoch(number, first_step)
    order, draws = list(plain), list(drawn)
    assert [[draw.index for draw in batch] for batch in draws] == order
    picture = {index: number for number, group in enumerate(groups) for index in group}
    for place, batch in enumerate(draws):
        step = place // accumulation
        alike = sorted(chain(*order[step * accumulation : (step + 1) * accumulation]), key=int)
        for draw in batch:
            assert (draw.epoch, draw.step) == (number, first_step + step)
            assert draw.together == tuple(index for index in alike if picture[index] == picture[draw.index])


@given(SIZES, st.integers(1, 3))
def test_draws_do_not_depend_on_how_a_step_is_shared_out(sizes, per_image):
    groups = pictures(sizes)
    whole = set(chain(*epoch(DrawSampler(groups, 6, per_image, 0), 1)))  # type: ignore[arg-type]
    parts = [DrawSampler(groups, 3, per_image, 0, 1, rank, 2) for rank in range(2)]
    assert set(chain(*(chain(*epoch(part, 1)) for part in parts))) == whole
