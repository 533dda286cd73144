"""Which samples an epoch holds, and in which order, when each dataset is drawn from at a rate of its own."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_BLOCK = 1024  # draws in which the rates hold to within one: few enough to be sure, enough to be random

Chunk = tuple[int, list[int]]
"""A picture's number, and samples of it."""


class Rates:
    """Draws from several datasets; everything follows from the seed and the number of a draw since the run's start.

    A dataset is gone through in an order of its own, drawn anew for each pass: no sample comes again before all others
    of its dataset came. Within each block of draws the datasets have their shares, rounded so that no error adds up;
    which of them comes next is random.

    Args:
        groups: sample indices by picture.
        datasets: for each dataset the numbers of its groups; none is empty.
        rates: how often each is drawn from, above 0; only their ratios matter.
        draws: samples an epoch.
    """

    def __init__(
        self, groups: Sequence[Sequence[int]], datasets: Sequence[Sequence[int]], rates: Sequence[float], draws: int
    ) -> None:
        self.groups = groups
        self.datasets = datasets
        self.shares = [rate / sum(rates) for rate in rates]
        self.draws = draws
        self.sizes = [sum(len(groups[number]) for number in numbers) for numbers in datasets]

    def chunks(self, seed: int, epoch: int, most: int) -> list[Chunk]:
        """One epoch, counted from 1, with at most so many samples of a picture together."""
        *before, counts = self.counts(epoch)
        places = [sum(column) for column in zip(*(block for blocks in before for block in blocks))]
        streams = [
            self._stream(number, seed, place, most) for number, place in enumerate(places or [0] * len(self.sizes))
        ]
        result: list[Chunk] = []
        for number, block in enumerate(counts):
            taken = [_take(stream, wanted) for stream, wanted in zip(streams, block)]
            # Which dataset comes next is random; within each of them the order stays, or passes would run together.
            turns = [dataset for dataset, chunks in enumerate(taken) for _ in chunks]
            random.Random(f"{seed}/{epoch}/block/{number}").shuffle(turns)
            ordered = [iter(chunks) for chunks in taken]
            result += [next(ordered[dataset]) for dataset in turns]
        return result

    def counts(self, epochs: int) -> list[list[list[int]]]:
        """Draws from each dataset in each block of the first epochs (of one at least)."""
        done, total = [0] * len(self.shares), 0
        result = []
        for _ in range(max(epochs, 1)):
            blocks = []
            for start in range(0, self.draws, _BLOCK):
                size = min(_BLOCK, self.draws - start)
                total += size
                block = _rounded([share * total - drawn for share, drawn in zip(self.shares, done)], size)
                done = [drawn + more for drawn, more in zip(done, block)]
                blocks.append(block)
            result.append(blocks)
        return result

    def _stream(self, dataset: int, seed: int, place: int, most: int) -> Iterator[list[Chunk]]:
        """One dataset's chunks without end, from its draw number `place` on; each in a list, to be put back into."""
        turn, done = divmod(place, self.sizes[dataset])
        while True:
            shuffle = random.Random(f"{seed}/{dataset}/{turn}")
            chunks: list[Chunk] = []
            for number in self.datasets[dataset]:
                group = shuffle.sample(list(self.groups[number]), len(self.groups[number]))
                chunks += [(number, group[start : start + most]) for start in range(0, len(group), most)]
            shuffle.shuffle(chunks)
            for number, members in chunks:
                if done < len(members):
                    rest = [(number, members[done:])]
                    while rest:
                        yield rest
                done = max(done - len(members), 0)
            turn += 1


def _take(stream: Iterator[list[Chunk]], wanted: int) -> list[Chunk]:
    """The next so many samples of a stream; what is left of a chunk stays for the next time."""
    taken: list[Chunk] = []
    while wanted > 0:
        head = next(stream)
        number, members = head.pop()
        taken.append((number, members[:wanted]))
        if members[wanted:]:
            head.append((number, members[wanted:]))
        wanted -= len(taken[-1][1])
    return taken


def _rounded(wanted: Sequence[float], total: int) -> list[int]:
    """Whole numbers, none below 0, that are nearest to those wanted and together `total`."""
    given = [max(int(value), 0) for value in wanted]
    while sum(given) != total:
        gaps = [want - have for want, have in zip(wanted, given)]
        if sum(given) < total:
            given[gaps.index(max(gaps))] += 1
        else:
            given[gaps.index(min(gap for gap, have in zip(gaps, given) if have))] -= 1
    return given
