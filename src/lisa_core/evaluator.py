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

    Raises:
        DataError: if a sample cannot be read and `on_error` is "fail", or none can.
    """
    model.eval()
    samples = dataset.samples[:max_samples]
    totals, blanks = MetricAccumulator(), MetricAccumulator()
    guesses = {"centre_blob": MetricAccumulator(), "largest_object": MetricAccumulator()}
    hits = pairs = 0
    skipped: list[str] = []
    for indices in _batches(group_by_image(samples), batch_size):
        examples = _load(dataset, indices, on_error, skipped)
        if examples:
            images, index = unique_images(examples)
            encoded = encode(model, collator, images)
            questions = [question(example.sample.text, example.sample.is_sentence) for example in examples]
            masks = [(p.logits > 0).cpu().numpy() for p in predict(model, collator, encoded, questions, index)]
            for example, mask in zip(examples, masks):
                iou = totals.update(mask, example.mask)
                if on_judged is not None:
                    on_judged(Judged(example, mask, iou))
            if blank:
                empty = [question("", is_sentence=False)] * len(images)
                unread = predict(model, collator, encoded, empty, range(len(images)))
                for example, image in zip(examples, index):
                    blanks.update((unread[image].logits > 0).cpu().numpy(), example.mask)
            for image in range(len(images)):
                members = [row for row, shown in enumerate(index) if shown == image]
                truths = [examples[row].mask for row in members]
                hit, count = listening_pairs([masks[row] for row in members], truths)
                hits, pairs = hits + hit, pairs + count
                for truth in truths:
                    guesses["centre_blob"].update(centre_blob(*truth.shape), truth)
                    guesses["largest_object"].update(largest_object(truths), truth)
        if on_progress is not None:
            on_progress(len(indices))
    if not totals.ious:
        raise DataError(f"none of the {len(samples)} samples could be read; the first: {skipped[0]}")
    return EvaluationResult(
        metrics=totals.compute(),
        listening=hits / pairs if pairs else None,
        pairs=pairs,
        blank_giou=blanks.compute().giou if blank else None,
        baselines={name: guess.compute().giou for name, guess in guesses.items()},
        skipped=skipped,
    )


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
