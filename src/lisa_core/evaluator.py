"""Evaluation as LISA defines it, at the pictures' own size, ignored pixels out; and does the model listen?"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lisa_core.data import Example, OnError, SegmentationDataset, group_by_image
from lisa_core.data.collate import Collator, unique_images
from lisa_core.data.same_picture import load_together, picture_numbers
from lisa_core.errors import DataError
from lisa_core.evaluation import EvaluationResult, Protocol
from lisa_core.flip_test import mirrored_question
from lisa_core.inference import Pictures, Prediction, encode, predict_answers, predict_generated
from lisa_core.model import LisaModel
from lisa_core.predictions import SavedMask
from lisa_core.processes import Processes
from lisa_core.prompts import answer, question
from lisa_core.records import SampleRecord
from lisa_core.run_lengths import union_of
from lisa_core.scoring import Drawn, score_picture


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
    protocol: Protocol = "teacher-forced",
    max_new_tokens: int = 32,
    boundary: bool = False,
    keep_masks: bool = False,
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
        protocol: "teacher-forced": the answer with `[SEG]` is given; "generated": the model writes it, and a reply
            without `[SEG]` counts as an empty mask.
        max_new_tokens: longest generated answer, in tokens.
        boundary: compare edges too; takes time.
        keep_masks: return all masks, as run lengths.

    Raises:
        DataError: if a sample cannot be read and `on_error` is "fail", or none can.
        ConfigError: if the protocol is "generated" and the model's masks depend on no answer.
    """
    model.eval()
    samples = dataset.samples[:max_samples]
    drawn = [index for index, sample in enumerate(samples) if sample.kind != "text"]
    if not drawn:
        raise DataError(f"none of the {len(samples)} samples has a mask, only words: evaluate on another dataset")
    tally = _Tally()
    groups = [[drawn[place] for place in group] for group in group_by_image([samples[index] for index in drawn])]
    picture = picture_numbers(groups)
    batches = list(_batches(groups, batch_size))
    judge = _Judge(model, collator, protocol, max_new_tokens, blank, boundary, keep_masks)
    rank, world_size = (0, 1) if processes is None else (processes.rank, processes.world_size)
    # Whole batches are shared out, so that a sample's figures do not depend on how many processes there are.
    for number in range(rank, -(-len(batches) // world_size) * world_size, world_size):
        indices = batches[number] if number < len(batches) else []
        examples = _load(dataset, indices, picture, on_error, tally.skipped)
        if examples:
            judge(examples, tally, on_judged)
        elif world_size > 1:
            # A model whose weights are shared out computes on all processes or on none; this does not count.
            tried = (_load(dataset, batch, picture, "skip", {}) for batch in batches)
            if stand_in := next(filter(None, tried), None):
                judge(stand_in, _Tally(), None)
        if indices and on_progress is not None:
            on_progress(len(indices))
    if processes is not None:
        tally = _Tally.joined(processes.gather([tally]))
    skipped = [line for _, line in sorted(tally.skipped.items())]
    if not tally.records:
        raise DataError(f"none of the {len(drawn)} samples could be read; the first: {skipped[0]}")
    return EvaluationResult.of(tally.records, skipped, tally.masks)


@dataclass
class _Tally:
    """What one process counted; plain data."""

    records: list[SampleRecord] = field(default_factory=list)
    masks: list[SavedMask] = field(default_factory=list)
    skipped: dict[int, str] = field(default_factory=dict)
    """Why, by the place of each sample that could not be read."""

    @classmethod
    def joined(cls, tallies: Sequence[_Tally]) -> _Tally:
        """All of them as one."""
        total = cls()
        for tally in tallies:
            total.records += tally.records
            total.masks += tally.masks
            total.skipped |= tally.skipped
        return total


@dataclass
class _Judge:
    """Draws the masks of some examples, by one protocol, and counts them."""

    model: LisaModel
    collator: Collator
    protocol: Protocol
    max_new_tokens: int
    blank: bool
    boundary: bool
    keep_masks: bool

    def __call__(
        self,
        examples: list[tuple[int, Example]],
        tally: _Tally,
        on_judged: Callable[[Judged], None] | None,
    ) -> None:
        """Count examples, each with its place in the dataset; the sentences of a picture come together."""
        images, shown = unique_images([example for _, example in examples])
        encoded = encode(self.model, self.collator, images)
        texts = [(example.sample.text, example.sample.is_sentence) for _, example in examples]
        drawn, replies = self.draw(encoded, texts, shown, [self.given(example) for _, example in examples])
        blanks: list[Drawn] = []
        if self.blank:
            empty = [("", False)] * len(images)
            blanks, _ = self.draw(encoded, empty, range(len(images)), [answer()] * len(images))
        records: dict[int, SampleRecord] = {}
        for image in range(len(images)):
            rows = [row for row, one in enumerate(shown) if one == image]
            scored = score_picture(
                [examples[row][1] for row in rows],
                [drawn[row] for row in rows],
                [examples[row][0] for row in rows],
                blanks[image] if self.blank else None,
                self.boundary,
            )
            records.update(zip(rows, scored))
        for row, (index, example) in enumerate(examples):
            tally.records.append(records[row])
            if on_judged is not None:
                on_judged(Judged(example, drawn[row].mask, records[row].iou))
            if self.keep_masks:
                sample = example.sample
                name = sample.image_path.name
                tally.masks.append(SavedMask.of(drawn[row], sample.id, sample.text, name, replies[row], index))

    def given(self, example: Example) -> str:
        """The answer that the teacher-forced protocol gives: one mask, or the set's own words around several."""
        return self.collator.answer_of(example) if example.sample.kind == "masks" else answer()

    def draw(
        self,
        encoded: Pictures,
        texts: Sequence[tuple[str, bool]],
        image_index: Sequence[int],
        answers: Sequence[str],
    ) -> tuple[list[Drawn], list[str | None]]:
        """The masks of each text (is it a sentence?), and what was said if the model said anything itself."""
        questions = [question(*text) for text in texts]
        if self.protocol == "teacher-forced":
            mirrored = [mirrored_question(*text) for text in texts]
            rows = predict_answers(self.model, self.collator, encoded, questions, answers, image_index, mirrored)
            said: list[str | None] = [None] * len(rows)
        else:
            replies = predict_generated(self.model, self.collator, encoded, questions, image_index, self.max_new_tokens)
            rows, said = [reply.masks for reply in replies], [reply.text for reply in replies]
        return [_drawn(row, encoded.images[image].size) for row, image in zip(rows, image_index)], said


def _drawn(predictions: Sequence[Prediction], size: tuple[int, int]) -> Drawn:
    """The union of one answer's masks; `size`: width and height of the picture."""
    masks = [_mask(prediction) for prediction in predictions]
    scores = [score for score in map(_score, predictions) if score is not None]
    score = sum(scores) / len(scores) if scores else None
    return Drawn(union_of(masks, (size[1], size[0])), score, bool(masks), masks if len(masks) > 1 else [])


def _mask(prediction: Prediction) -> np.ndarray:
    mask: np.ndarray = (prediction.logits > 0).cpu().numpy()
    return mask


def _score(prediction: Prediction) -> float | None:
    """The decoder's estimate, which may leave 0..1; None if it is no number."""
    return min(max(prediction.iou, 0.0), 1.0) if math.isfinite(prediction.iou) else None


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


def _load(
    dataset: SegmentationDataset,
    indices: Sequence[int],
    picture: Mapping[int, int],
    on_error: OnError,
    skipped: dict[int, str],
) -> list[tuple[int, Example]]:
    """The examples that can be read, each with its place; why the others cannot goes to `skipped`."""
    examples = []
    for index, item in zip(indices, load_together(dataset, indices, picture)):
        if isinstance(item, Example):
            examples.append((index, item))
        elif on_error == "fail":
            raise item
        else:
            skipped[index] = str(item)
    return examples
