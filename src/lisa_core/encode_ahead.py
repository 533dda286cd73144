"""What frozen encoders make of a run's pictures and sentences, computed before its first step.

In a step all processes wait for the one that has the most to encode. Here each takes its share, and they wait for one
another only now and then.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader, Dataset

from lisa_core.config import TrainConfig
from lisa_core.data.base import Example, SegmentationDataset
from lisa_core.data.collate import Collator, unique_images
from lisa_core.errors import DataError
from lisa_core.inference import to_device
from lisa_core.interrupts import Interrupts
from lisa_core.model import LisaModel
from lisa_core.processes import Processes
from lisa_core.progress import Reporter
from lisa_core.vlm import Batch

_PICTURES = 8
"""In a batch, or fewer if the run's are smaller: more of them are hardly any faster on a CPU."""
_ROUNDS = 5
"""After so many batches processes hear of one another: none may get as far ahead as their backend's patience."""


def encodes_ahead(config: TrainConfig) -> bool:
    """Whether this run keeps features, and its epochs show every picture: only then all are worth encoding."""
    drawn = any(source.rate is not None for source in config.data.sources)
    return config.speed.feature_cache is not None and not drawn


def encode_ahead(
    model: LisaModel,
    dataset: SegmentationDataset,
    groups: Sequence[Sequence[int]],
    collator: Collator,
    config: TrainConfig,
    processes: Processes,
    reporter: Reporter,
    interrupts: Interrupts,
) -> None:
    """Have the model's cache keep all that a run will read from it; what is kept already is not computed again.

    A sample that cannot be read is passed over: training reports it. After a signal, what is missing is left to the
    steps, as are sentences that are drawn when their picture is loaded.

    Args:
        model: on its device, with a cache.
        dataset: the training split.
        groups: indices of the samples that the run trains on, by picture.
        collator: of the run; its stores are those of the model's cache.
        config: all settings.
        processes: this one takes its share of the pictures.
        reporter: told how far it is.
        interrupts: noted signals.
    """
    started = time.monotonic()
    share = -(-len(groups) // processes.world_size)
    # Neighbours stay together: where a picture's sentences are not known to be of one, they are read beside each other.
    own = groups[processes.rank * share : (processes.rank + 1) * share]
    size = min(_PICTURES, config.data.batch_size)
    reads_text = model.cache.text is not None and config.data.prompt_style == "fixed"
    loader = DataLoader(
        _Pictures(dataset, own),
        batch_size=size,
        collate_fn=_Unknown(collator, reads_text, config.data.batch_size),
        num_workers=config.data.num_workers,
        generator=torch.Generator(),  # the run's random numbers must not depend on it
    )
    work = iter(loader)
    encoded = 0
    reporter.encoding(0, len(groups))
    for number in range(1, -(-share // size) + 1):
        for batch in next(work, ()):  # the last process may have fewer
            model.fill_cache(to_device(batch, processes.device))
            encoded += len(batch.get("picture_keys", ()))
        # The shares are about equal, so this process tells how far all of them are.
        reporter.encoding(min(number * size, share) * len(groups) // share, len(groups))
        if number % _ROUNDS == 0 and processes.sum([float(interrupts.signal is not None)])[0]:
            break
    encoded = round(processes.sum([float(encoded)])[0])
    if encoded:
        seconds = time.monotonic() - started
        reporter.line(f"{encoded} of {len(groups)} pictures encoded before the first step, {seconds:.0f} s")


class _Pictures(Dataset[list[Example]]):
    """For each picture its sentences, without their masks but for the first; none if it cannot be read."""

    def __init__(self, dataset: SegmentationDataset, groups: Sequence[Sequence[int]]) -> None:
        self.dataset = dataset
        self.groups = groups

    def __len__(self) -> int:
        return len(self.groups)

    def __getitem__(self, number: int) -> list[Example]:
        first, *others = self.groups[number]
        try:
            example = self.dataset.load(first)
        except DataError:  # of this sentence or of the picture: what is left out here, its step encodes
            return []
        samples = [self.dataset.samples[index] for index in others]
        known = [sample for sample in samples if sample.text]  # others are drawn when their picture is loaded
        return [example, *(dataclasses.replace(example, sample=sample, earlier=()) for sample in known)]


class _Unknown:
    """Inputs of pictures that are not kept yet, then of all sentences, in batches; none if there is nothing to do.

    Args:
        collator: with the stores.
        reads_text: whether sentences are kept too, and are the same in every epoch.
        rows: most sentences in a batch.
    """

    def __init__(self, collator: Collator, reads_text: bool, rows: int) -> None:
        self.collator = collator
        self.reads_text = reads_text
        self.rows = rows

    def __call__(self, pictures: Sequence[Sequence[Example]]) -> list[Batch]:
        found = [example for examples in pictures for example in examples]
        images, _ = unique_images(found)
        images = [image for image in images if not self.collator.stores.know(image)]
        batches = []
        if images:
            batch = self.collator.picture_inputs(images)
            batch.pop("text_input_ids", None)  # these words are none to keep
            batches.append(batch)
        if self.reads_text:
            questions = sorted({self.collator.question_of(example) for example in found}, key=len)
            starts = range(0, len(questions), self.rows)
            batches += [self.collator.text_inputs(questions[start : start + self.rows]) for start in starts]
        return batches
