"""Evaluation as LISA defines it, at the pictures' own size, ignored pixels out; and does the model listen?"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lisa_core.data import Example, OnError, SegmentationDataset, group_by_image
from lisa_core.data.collate import Collator, unique_images
from lisa_core.errors import DataError
from lisa_core.inference import encode, predict
from lisa_core.metrics import MetricAccumulator, SegmentationMetrics, centre_blob, largest_object, listening_pairs
from lisa_core.model import LisaModel
from lisa_core.processes import Processes
from lisa_core.prompts import question


@dataclass
class EvaluationResult:
    """The figures of one evaluation."""

    metrics: SegmentationMetrics
    """gIoU, cIoU and P@k over all sentences."""
    listening: float | None
    """Share of sentence pairs of one picture whose masks overlap their own object more; None without such pairs."""
    pairs: int
    """Sentence pairs that `listening` is over."""
    blank_giou: float | None
    """gIoU with every sentence blanked; None if that was not asked for."""
    baselines: dict[str, float]
    """gIoU of guesses that never read the sentence."""
    skipped: list[str] = field(default_factory=list)
    """A line for each sample that could not be read."""

    @property
    def giou(self) -> float:
        """Mean IoU of the masks."""
        return self.metrics.giou

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> EvaluationResult:
        """What `to_dict` made plain, without the lines about skipped samples."""
        precision = {float(threshold): share for threshold, share in record["precision"].items()}
        return cls(
            metrics=SegmentationMetrics(record["giou"], record["ciou"], precision, record["n"]),
            listening=record["listening"],
            pairs=record["listening_pairs"],
            blank_giou=record["blank_giou"],
            baselines=record["baselines"],
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            **self.metrics.to_dict(),
            "listening": self.listening,
            "listening_pairs": self.pairs,
            "blank_giou": self.blank_giou,
            "baselines": self.baselines,
            "skipped": len(self.skipped),
        }


@dataclass
class Judged:
    """One sentence with its truth and the mask drawn for it."""

    example: Example
    """Picture, sentence and truth."""
    mask: np.ndarray
    """bool [H,W]."""
    iou: float
    """With the truth, ignored pixels out."""


def evaluate(
    model: LisaModel,
    dataset: SegmentationDataset,
    collator: Collator,
    batch_size: int = 16,
    max_samples: int | None = None,
    on_error: OnError = "fail",
    blank: bool = True,
    on_progress: Callable[[int], None] | None = None,
    on_judged: Callable[[Judged], None] | None = None,
    processes: Processes | None = None,
) -> EvaluationResult:
    """Evaluate a model on a dataset.

    Args:
        model: is put into evaluation mode.
        dataset: one sentence per target, for LISA's figures.
        collator: made for this model.
        batch_size: sentences a step, at least; the sentences of a picture stay together.
        max_samples: only the first so many.
        on_error: what to do about a sample that cannot be read.
        blank: also draw a mask for an empty sentence about each picture, to see what the words are worth.
        on_progress: told after each step how many sentences it held.
        on_judged: given each sentence with its mask.
        processes: who shares the work; each gets the whole result, and none of the samples counts twice.

    Raises:
        DataError: if a sample cannot be read and `on_error` is "fail", or none can.
    """
    model.eval()
    samples = dataset.samples[:max_samples]
    tally = _Tally()
    batches = list(_batches(group_by_image(samples), batch_size))
    rank, world_size = (0, 1) if processes is None else (processes.rank, processes.world_size)
    # Whole batches are shared out, so that a sample's figures do not depend on how many processes there are.
    for number in range(rank, -(-len(batches) // world_size) * world_size, world_size):
        indices = batches[min(number, len(batches) - 1)]
        examples = _load(dataset, indices, on_error, tally.skipped)
        if number >= len(batches):
            # A model whose weights are shared out computes on all processes or on none; this does not count.
            if examples:
                _judge(model, collator, examples, blank, _Tally(), None)
            continue
        if examples:
            _judge(model, collator, examples, blank, tally, on_judged)
        if on_progress is not None:
            on_progress(len(indices))
    if processes is not None:
        tally = _Tally.joined(processes.gather([tally]))
    if not tally.masks.ious:
        raise DataError(f"none of the {len(samples)} samples could be read; the first: {tally.skipped[0]}")
    return EvaluationResult(
        metrics=tally.masks.compute(),
        listening=tally.hits / tally.pairs if tally.pairs else None,
        pairs=tally.pairs,
        blank_giou=tally.blanks.compute().giou if blank else None,
        baselines={name: guess.compute().giou for name, guess in tally.guesses.items()},
        skipped=tally.skipped,
    )


@dataclass
class _Tally:
    """What one process counted; plain data."""

    masks: MetricAccumulator = field(default_factory=MetricAccumulator)
    blanks: MetricAccumulator = field(default_factory=MetricAccumulator)
    guesses: dict[str, MetricAccumulator] = field(
        default_factory=lambda: {"centre_blob": MetricAccumulator(), "largest_object": MetricAccumulator()}
    )
    hits: int = 0
    pairs: int = 0
    skipped: list[str] = field(default_factory=list)

    @classmethod
    def joined(cls, tallies: Sequence[_Tally]) -> _Tally:
        """All of them as one."""
        total = cls()
        for tally in tallies:
            total.masks.merge(tally.masks)
            total.blanks.merge(tally.blanks)
            for name, guess in tally.guesses.items():
                total.guesses[name].merge(guess)
            total.hits += tally.hits
            total.pairs += tally.pairs
            total.skipped += [line for line in tally.skipped if line not in total.skipped]
        return total


def _judge(
    model: LisaModel,
    collator: Collator,
    examples: list[Example],
    blank: bool,
    tally: _Tally,
    on_judged: Callable[[Judged], None] | None,
) -> None:
    """Draw the masks of some examples and count them; the sentences of a picture come together."""
    images, index = unique_images(examples)
    encoded = encode(model, collator, images)
    questions = [question(example.sample.text, example.sample.is_sentence) for example in examples]
    masks = [(p.logits > 0).cpu().numpy() for p in predict(model, collator, encoded, questions, index)]
    for example, mask in zip(examples, masks):
        iou = tally.masks.update(mask, example.mask)
        if on_judged is not None:
            on_judged(Judged(example, mask, iou))
    if blank:
        empty = [question("", is_sentence=False)] * len(images)
        unread = predict(model, collator, encoded, empty, range(len(images)))
        for example, image in zip(examples, index):
            tally.blanks.update((unread[image].logits > 0).cpu().numpy(), example.mask)
    for image in range(len(images)):
        members = [row for row, shown in enumerate(index) if shown == image]
        truths = [examples[row].mask for row in members]
        hit, count = listening_pairs([masks[row] for row in members], truths)
        tally.hits, tally.pairs = tally.hits + hit, tally.pairs + count
        for truth in truths:
            tally.guesses["centre_blob"].update(centre_blob(*truth.shape), truth)
            tally.guesses["largest_object"].update(largest_object(truths), truth)


def _batches(groups: Sequence[Sequence[int]], batch_size: int) -> Iterator[list[int]]:
    """Whole groups, together at least `batch_size` indices (the last fewer)."""
    batch: list[int] = []
    for group in groups:
        batch.extend(group)
        if len(batch) >= batch_size:
            yield batch
            batch = []
    if batch:
        yield batch


def _load(dataset: SegmentationDataset, indices: Sequence[int], on_error: OnError, skipped: list[str]) -> list[Example]:
    examples = []
    for index in indices:
        try:
            examples.append(dataset.load(index))
        except DataError as error:
            if on_error == "fail":
                raise
            skipped.append(str(error))
    return examples
