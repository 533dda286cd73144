"""What frozen encoders make of a run's pictures and sentences, computed before its first step.

In a step all processes wait for the one that has the most to encode. Here each takes its share and waits for nobody.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import torch
from torch.utils.data import DataLoader, Dataset

from lisa_core.config import TrainConfig
from lisa_core.data.base import Example, SegmentationDataset, group_by_image
from lisa_core.data.collate import Collator
from lisa_core.data.mixture import first_samples
from lisa_core.errors import DataError
from lisa_core.inference import to_device
from lisa_core.interrupts import Interrupts
from lisa_core.model import LisaModel
from lisa_core.processes import Processes
from lisa_core.progress import Reporter
from lisa_core.vlm import Batch

_PICTURES = 8
"""In a batch: more of them are hardly any faster on a CPU."""


def encodes_ahead(config: TrainConfig) -> bool:
    """Whether this run keeps features, and its epochs show every picture: only then all are worth encoding."""
    drawn = any(source.rate is not None for source in config.data.sources)
    return config.speed.feature_cache is not None and not drawn


def encode_ahead(
    model: LisaModel,
    dataset: SegmentationDataset,
    collator: Collator,
    config: TrainConfig,
    processes: Processes,
    reporter: Reporter,
    interrupts: Interrupts,
) -> None:
    """Have the model's cache keep all that a run will read from it; what is kept already is not computed again.

    A sample that cannot be read is passed over: training reports it. After a signal, what is left is left to the steps.

    Args:
        model: on its device, with a cache.
        dataset: the training split.
        collator: of the run; its stores are those of the model's cache.
        config: all settings.
        processes: this one takes its share of the pictures.
        reporter: told how far it is.
        interrupts: noted signals.
    """
    started = time.monotonic()
    groups = group_by_image(first_samples(dataset, config.data.max_train_samples))
    own = groups[processes.rank :: processes.world_size]
    loader = DataLoader(
        _Pictures(dataset, own),
        batch_size=_PICTURES,
        collate_fn=_Unknown(collator, model.cache.text is not None and config.data.prompt_style == "fixed"),
        num_workers=config.data.num_workers,
        generator=torch.Generator(),  # the run's random numbers must not depend on it
    )
    reporter.encoding(0, len(groups))
    for number, batch in enumerate(loader, 1):
        if interrupts.signal is not None:
            break
        if batch:
            model.keep_features(to_device(batch, processes.device))
        # The shares are equal, so this process tells how far all of them are.
        reporter.encoding(min(number * _PICTURES, len(own)) * len(groups) // len(own), len(groups))
    processes.wait()
    reporter.line(f"{len(groups)} pictures encoded once for all epochs, {time.monotonic() - started:.0f} s")


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
    """Model inputs of pictures that are not kept yet, and of all sentences; empty if there is nothing to compute.

    Args:
        collator: with the stores.
        reads_text: whether sentences are kept too, and are the same in every epoch.
    """

    def __init__(self, collator: Collator, reads_text: bool) -> None:
        self.collator = collator
        self.reads_text = reads_text

    def __call__(self, pictures: Sequence[Sequence[Example]]) -> Batch:
        found = [examples for examples in pictures if examples]
        images = [examples[0].image for examples in found]
        if not images:
            return {}
        spoken = [examples if self.reads_text else examples[:1] for examples in found]
        rows = [(image, example) for image, examples in enumerate(spoken) for example in examples]
        questions = [self.collator.question_of(example) for _, example in rows]
        if self.collator.stores.know(images):
            return self.collator.text_inputs(questions) if self.reads_text else {}
        batch = self.collator.inputs(images, questions, None, [image for image, _ in rows])
        if not self.reads_text:
            batch.pop("text_input_ids", None)
        return batch
