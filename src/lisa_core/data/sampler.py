"""Training batches in which several sentences of one picture stand together."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence


class SentenceBatchSampler:
    """Yields batches of sample indices; every sample appears once an epoch.

    Sentences of one picture are kept together, up to `sentences_per_image` of them: the picture is encoded once for
    all, and telling one object from another of the same picture is what the model has to learn.

    Args:
        groups: sample indices by picture.
        batch_size: samples a batch; the last one may be smaller.
        sentences_per_image: most samples of one picture in a row, as long as there are others to go on with.
        seed: with the epoch's number it decides the order.
    """

    def __init__(self, groups: Sequence[Sequence[int]], batch_size: int, sentences_per_image: int, seed: int) -> None:
        self.groups = groups
        self.batch_size = batch_size
        self.sentences_per_image = sentences_per_image
        self.seed = seed
        self.epoch = 0
        self.drop_last = False  # asked for by whoever shards batches over processes

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of the next pass."""
        self.epoch = epoch

    def __len__(self) -> int:
        """Batches an epoch."""
        return -(-sum(len(group) for group in self.groups) // self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        """One epoch of batches."""
        order = random.Random(f"{self.seed}/{self.epoch}")
        chunks: list[tuple[int, list[int]]] = []
        for picture, group in enumerate(self.groups):
            shuffled = order.sample(list(group), len(group))
            step = min(self.sentences_per_image, self.batch_size)
            chunks += [(picture, shuffled[start : start + step]) for start in range(0, len(shuffled), step)]
        order.shuffle(chunks)
        indices = [index for _, chunk in _apart(chunks) for index in chunk]
        for start in range(0, len(indices), self.batch_size):
            yield indices[start : start + self.batch_size]


def _apart(chunks: list[tuple[int, list[int]]]) -> list[tuple[int, list[int]]]:
    """The chunks (picture, samples) with those of one picture parted, where others are left to stand between them."""
    for here in range(1, len(chunks)):
        picture = chunks[here - 1][0]
        if chunks[here][0] == picture:
            other = next((later for later in range(here + 1, len(chunks)) if chunks[later][0] != picture), here)
            chunks[here], chunks[other] = chunks[other], chunks[here]
    return chunks
