"""The training data as a torch DataLoader: decoded in workers, corrupt samples named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from lisa_core.config import TrainConfig
from lisa_core.data.augmentation import Augmenter
from lisa_core.data.base import Example, Sample, SegmentationDataset
from lisa_core.data.collate import Collator
from lisa_core.data.mixture import Mixture, first_samples, mixed
from lisa_core.data.rates import Rates
from lisa_core.data.same_picture import group_by_image, load_together, picture_numbers
from lisa_core.data.sampler import Draw, DrawSampler, SentenceBatchSampler
from lisa_core.vlm import Batch


class _Decoded(Dataset[Example | str]):
    """Decodes by index; a sample that cannot be decoded becomes the line that says why.

    It is not raised here: a worker process would hand over the error as the text of a whole traceback.
    """

    def __init__(self, dataset: SegmentationDataset, groups: Sequence[Sequence[int]]) -> None:
        self.dataset = dataset
        self.picture = picture_numbers(groups)

    def __getitem__(self, draw: int | Draw) -> Example | str:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: Sequence[int | Draw]) -> list[Example | str]:
        """What a DataLoader asks for a batch."""
        indices = [draw if isinstance(draw, int) else draw.index for draw in draws]
        items = load_together(self.dataset, indices, self.picture)
        return [item if isinstance(item, Example) else str(item) for item in items]


class _Augmented(Dataset[Example | str]):
    """Decodes a whole batch of draws at once, since what is done to a picture depends on all its sentences."""

    def __init__(self, augmenter: Augmenter) -> None:
        self.augmenter = augmenter

    def __getitem__(self, draw: Draw) -> Example | str:
        return self.augmenter.load([draw])[0]

    def __getitems__(self, draws: list[Draw]) -> list[Example | str]:
        """What a DataLoader asks for a batch."""
        return self.augmenter.load(draws)


class _Worded(Dataset[Example | str]):
    """Examples whose question and answer are worded by their place in the run's order."""

    def __init__(self, inner: _Decoded | _Augmented, seed: int) -> None:
        self.inner = inner
        self.seed = seed

    def __getitem__(self, draw: Draw) -> Example | str:
        return self.__getitems__([draw])[0]

    def __getitems__(self, draws: list[Draw]) -> list[Example | str]:
        """What a DataLoader asks for a batch."""
        items = self.inner.__getitems__(draws)
        return [self._worded(item, draw) for item, draw in zip(items, draws)]

    def _worded(self, item: Example | str, draw: Draw) -> Example | str:
        if isinstance(item, str):
            return item
        return replace(item, wording=f"{self.seed}/{draw.epoch}/{draw.step}/{draw.index}")


class _SkippingCollator:
    """Collates what could be decoded; `batch["skipped"]` holds the lines about the rest."""

    def __init__(self, collator: Collator) -> None:
        self.collator = collator

    def __call__(self, items: Sequence[Example | str]) -> Batch:
        examples = [item for item in items if isinstance(item, Example)]
        batch: Batch = self.collator(examples) if examples else {}
        batch["skipped"] = [item for item in items if isinstance(item, str)]
        return batch


def train_loader(
    dataset: SegmentationDataset, collator: Collator, config: TrainConfig, rank: int = 0, world_size: int = 1
) -> DataLoader:
    """One process's micro-batches of the first `max_train_samples` sentences; see `SentenceBatchSampler`.

    `batch["skipped"]` holds a line for each sample that could not be decoded, whatever `on_error` says: what follows
    from it is for the caller to decide. A batch none of whose samples could be decoded holds nothing else.
    """
    groups, rates = _groups(dataset, config, world_size)
    probabilities = config.augmentation.probabilities
    augmented = any(probabilities.values())
    varied = config.data.prompt_style == "varied"
    sampler = (DrawSampler if augmented or varied else SentenceBatchSampler)(
        groups,
        config.data.batch_size,
        config.data.sentences_per_image,
        config.optim.seed,
        config.optim.gradient_accumulation_steps,
        rank,
        world_size,
        _bucket_numbers(dataset, groups, config.data.bucket),
        rates,
    )
    count = len(first_samples(dataset, config.data.max_train_samples))
    augmenter = Augmenter(dataset, probabilities, config.optim.seed, count)
    examples: _Decoded | _Augmented = _Augmented(augmenter) if augmented else _Decoded(dataset, groups)
    return DataLoader(
        _Worded(examples, config.optim.seed) if varied else examples,
        batch_sampler=sampler,
        collate_fn=_SkippingCollator(collator),
        num_workers=config.data.num_workers,
        persistent_workers=config.data.num_workers > 0,
        # Of its own: a loader takes its workers' seeds from it, and the run's random numbers must not depend on how
        # often a loader was started.
        generator=torch.Generator(),
    )


def _groups(dataset: SegmentationDataset, config: TrainConfig, world_size: int) -> tuple[list[list[int]], Rates | None]:
    """Sample indices by picture, and what decides how often each comes if that is not once an epoch."""
    data = config.data
    rates = [source.rate for source in data.sources if source.rate is not None] if isinstance(dataset, Mixture) else []
    if not isinstance(dataset, Mixture) or not rates:
        return group_by_image(first_samples(dataset, data.max_train_samples)), None
    step_size = data.batch_size * config.optim.gradient_accumulation_steps * world_size
    return mixed(dataset, rates, None if data.steps_per_epoch is None else data.steps_per_epoch * step_size)


def _bucket_numbers(dataset: SegmentationDataset, groups: Sequence[Sequence[int]], bucket: str) -> list[float] | None:
    """For each picture what it is put beside its like by: characters of its longest sentence, or its pixels."""
    if bucket == "none":
        return None
    if bucket == "length":
        return [max(float(len(dataset.samples[index].text)) for index in group) for group in groups]
    return [_pixels(dataset.samples[group[0]].image_path) for group in groups]


def _pixels(path: Path) -> float:
    """Pixels of a picture, from its header; 0 for what is no picture, which is told when it is read."""
    try:
        with Image.open(path) as image:
            return float(image.width * image.height)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0.0


def stand_in(collator: Collator) -> Batch:
    """A batch of a blank picture, for a process that has no samples left while others still have some.

    Its `stand_in` says so: no running statistics may hear of it.
    """
    sample = Sample("stand-in", Path(), Path(), "nothing", is_sentence=False)
    example = Example(sample, Image.new("RGB", (64, 64)), np.zeros((64, 64), np.uint8))
    return {**collator([example]), "stand_in": True}
