"""From masks to records: the sentences of one picture, each with what was drawn for it, compared with their truths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from lisa_core.boundary import boundary_counts
from lisa_core.data.base import Example
from lisa_core.listening import centre_blob, compare_sentences, largest_object
from lisa_core.matching import InstanceCounts, match_instances
from lisa_core.metrics import intersection_union, iou, truth_of
from lisa_core.records import SampleRecord
from lisa_core.types import IGNORE


@dataclass
class Drawn:
    """What was drawn for one sentence."""

    mask: np.ndarray
    """bool [H,W]."""
    score: float | None = None
    """The model's own estimate of the IoU, 0..1."""
    answered: bool = True
    """False: there was no mask at all, `mask` is empty."""
    instances: list[np.ndarray] = field(default_factory=list)
    """The masks that `mask` is the union of, bool [H,W] each; empty: `mask` is the only one."""


def score_picture(
    examples: Sequence[Example],
    drawn: Sequence[Drawn],
    indices: Sequence[int],
    blank: Drawn | None = None,
    boundary: bool = False,
) -> list[SampleRecord]:
    """Compare the masks of one picture's sentences with their truths.

    Args:
        examples: all sentences that are scored of ONE picture, so that they can be compared with one another.
        drawn: for each, what was drawn.
        indices: for each, its place in the dataset.
        blank: what was drawn for no words at all.
        boundary: compare edges too, which takes longer than all the rest.

    Raises:
        ValueError: if a mask is not bool, or not of its picture's size.
    """
    truths = [example.mask for example in examples]
    compared = compare_sentences([one.mask for one in drawn], truths)
    largest, blob = largest_object(truths), centre_blob(*truths[0].shape)
    records = []
    for example, one, index, beside in zip(examples, drawn, indices, compared):
        truth, sample = example.mask, example.sample
        counted = truth != IGNORE
        intersection, union = intersection_union(one.mask, truth)
        edges = boundary_counts(one.mask, truth) if boundary else (None, None)
        blind = {"centre_blob": iou(blob, truth), "largest_object": iou(largest, truth)}
        if blank is not None:
            blind["blank"] = iou(blank.mask, truth)
        if beside.swapped is not None:
            blind["swapped"] = beside.swapped
        records.append(
            SampleRecord(
                index=index,
                id=sample.id,
                text=sample.text,
                is_sentence=sample.is_sentence,
                image=sample.image_path.name,
                picture=examples[0].sample.id,
                source=sample.dataset or sample.source,
                intersection=intersection,
                union=union,
                truth_pixels=int(np.count_nonzero(truth_of(truth))),
                predicted_pixels=int(np.count_nonzero(one.mask & counted)),
                counted_pixels=int(np.count_nonzero(counted)),
                score=one.score,
                answered=one.answered,
                boundary_intersection=edges[0],
                boundary_union=edges[1],
                listening_hits=beside.hits,
                listening_pairs=beside.pairs,
                blind=blind,
                instances=_instances(example, one),
            )
        )
    return records


def _instances(example: Example, drawn: Drawn) -> InstanceCounts | None:
    """Matched with the truth's own objects, where the reader of the data tells them apart (`Example.instances`)."""
    if example.instances is None:
        return None
    return match_instances(drawn.instances or [drawn.mask], example.instances)
