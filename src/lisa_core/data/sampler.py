"""Training batches in which several sentences of one picture stand together, shared out over steps and processes."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from lisa_core.data.rates import Rates
from lisa_core.data.same_picture import picture_numbers

_POOL = 32  # chunks among which one that fits is sought
_MEGABATCH = 50  # batches among which what is alike is sought: enough to find some, few enough to stay random


class SentenceBatchSampler:
    """Yields one process's micro-batches of sample indices; all processes together see every sample once an epoch.

    Sentences of one picture are kept together, up to `sentences_per_image` of them: the picture is encoded once for
    all, and telling one object from another of the same picture is what the model has to learn. Pictures with fewer
    stand so that they seldom reach from one batch into the next, if `batch_size` is a multiple of it and neither
    `bucket_by` nor `rates` has a say.

    The order does not depend on how an optimizer step is cut up: `batch_size` x `accumulation` x `world_size` samples
    in a row make one step, its micro-batches go round the processes. In an epoch's last step all processes have equally
    many micro-batches, but some of them may be smaller, or empty.

    Args:
        groups: sample indices by picture.
        batch_size: samples in a micro-batch of one process.
        sentences_per_image: most samples of one picture in a row, as long as there are others to go on with.
        seed: with the epoch's number it decides the order.
        accumulation: micro-batches in an optimizer step.
        rank: which process this is.
        world_size: of how many.
        bucket_by: for each group a number, if groups with like numbers are to stand in the same batches.
        rates: decides what an epoch holds, if that is not every sample once.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]],
        batch_size: int,
        sentences_per_image: int,
        seed: int,
        accumulation: int = 1,
        rank: int = 0,
        world_size: int = 1,
        bucket_by: Sequence[float] | None = None,
        rates: Rates | None = None,
    ) -> None:
        self.groups = groups
        self.batch_size = batch_size
        self.sentences_per_image = sentences_per_image
        self.seed = seed
        self.accumulation = accumulation
        self.rank = rank
        self.world_size = world_size
        self.bucket_by = bucket_by
        self.rates = rates
        self.epoch = 0
        self.first_step = 0

    @property
    def samples(self) -> int:
        """Samples an epoch."""
        if self.rates is not None:
            return self.rates.draws
        return sum(len(group) for group in self.groups)

    @property
    def step_size(self) -> int:
        """Samples of one optimizer step, on all processes."""
        return self.batch_size * self.accumulation * self.world_size

    @property
    def steps(self) -> int:
        """Optimizer steps an epoch."""
        return -(-self.samples // self.step_size)

    def set_epoch(self, epoch: int, first_step: int = 0) -> None:
        """Choose the order of the next pass, and how many optimizer steps of it to leave out."""
        self.epoch = epoch
        self.first_step = first_step

    def __len__(self) -> int:
        """Micro-batches of one process in the next pass."""
        left = self.samples - self.first_step * self.step_size
        return max(-(-left // (self.batch_size * self.world_size)), 0)

    def __iter__(self) -> Iterator[list[int]]:
        """One pass of micro-batches."""
        order = self._order()
        share = self.batch_size * self.world_size
        for start in range(self.first_step * self.step_size, len(order), share):
            own = start + self.rank * self.batch_size
            yield order[own : min(own + self.batch_size, start + share)]

    def _order(self) -> list[Any]:
        """All samples in the order of this epoch."""
        shuffle = random.Random(f"{self.seed}/{self.epoch}")
        most = min(self.sentences_per_image, self.batch_size)
        chunks: list[tuple[int, list[int]]] = []
        if self.rates is not None:
            chunks = self.rates.chunks(self.seed, self.epoch, most)
        else:
            for picture, group in enumerate(self.groups):
                shuffled = shuffle.sample(list(group), len(group))
                chunks += [(picture, shuffled[start : start + most]) for start in range(0, len(shuffled), most)]
            shuffle.shuffle(chunks)
        if self.bucket_by is not None:
            chunks = self._bucketed(chunks, shuffle)
        elif self.rates is None:  # else the order within a dataset is not to be touched
            chunks = _packed(chunks, most)
        if self.rates is None:
            chunks = _apart(chunks)
        return [index for _, chunk in chunks for index in chunk]

    def _bucketed(self, chunks: list[tuple[int, list[int]]], shuffle: random.Random) -> list[tuple[int, list[int]]]:
        """The chunks sorted within stretches of many batches, and runs of about a batch of them shuffled again."""
        assert self.bucket_by is not None
        per_batch = max(round(self.batch_size * len(chunks) / max(self.samples, 1)), 1)
        result: list[tuple[int, list[int]]] = []
        for start in range(0, len(chunks), per_batch * _MEGABATCH):
            stretch = sorted(chunks[start : start + per_batch * _MEGABATCH], key=lambda chunk: self.bucket_by[chunk[0]])  # type: ignore[index]
            runs = [stretch[first : first + per_batch] for first in range(0, len(stretch), per_batch)]
            shuffle.shuffle(runs)
            result += [chunk for run in runs for chunk in run]
        return result


def _packed(chunks: list[tuple[int, list[int]]], size: int) -> list[tuple[int, list[int]]]:
    """The chunks (picture, samples) in about their order, of which each `size` samples in a row hold whole ones.

    As far as there are some that fit among the next few: a picture whose sentences two batches share is encoded twice.
    """
    following = iter(chunks)
    pool = list(itertools.islice(following, _POOL))
    packed: list[tuple[int, list[int]]] = []
    room = size
    while pool:
        others = [place for place, (picture, _) in enumerate(pool) if not packed or picture != packed[-1][0]]
        fitting = [place for place in others if room < size and len(pool[place][1]) <= room]
        # The largest, the first of those; where a stretch begins or nothing fits, whatever comes next.
        chosen = max(fitting, key=lambda place: (len(pool[place][1]), -place), default=next(iter(others), 0))
        packed.append(pool.pop(chosen))
        room = (room - len(packed[-1][1])) % size or size
        pool += itertools.islice(following, 1)
    return packed


def _apart(chunks: list[tuple[int, list[int]]]) -> list[tuple[int, list[int]]]:
    """The chunks (picture, samples) with those of one picture parted, where others are left to stand between them."""
    for here in range(1, len(chunks)):
        picture = chunks[here - 1][0]
        if chunks[here][0] == picture:
            other = next((later for later in range(here + 1, len(chunks)) if chunks[later][0] != picture), here)
            chunks[here], chunks[other] = chunks[other], chunks[here]
    return chunks


@dataclass(frozen=True)
class Draw:
    """A sample at one place of a run's order, with all that may decide how its picture is changed."""

    index: int
    """The sample's."""
    together: tuple[int, ...]
    """The samples of the same picture in the same optimizer step, this one among them, in ascending order."""
    epoch: int
    """Which pass."""
    step: int
    """Optimizer step of the pass, from 0."""


class DrawSampler(SentenceBatchSampler):
    """The same micro-batches as `Draw`s; what stands together does not depend on how a step is cut up."""

    def _order(self) -> list[Any]:
        order = super()._order()
        picture = picture_numbers(self.groups)
        draws: list[Any] = []
        for start in range(0, len(order), self.step_size):
            step = order[start : start + self.step_size]
            members: dict[int, list[int]] = defaultdict(list)
            for index in sorted(set(step)):
                members[picture[index]].append(index)
            number = start // self.step_size
            draws += [Draw(index, tuple(members[picture[index]]), self.epoch, number) for index in step]
        return draws
