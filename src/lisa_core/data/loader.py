"""The training data as a torch DataLoader: decoded in workers, corrupt samples named."""

from __future__ import annotations

from collections.abc import Sequence

from torch.utils.data import DataLoader, Dataset

from lisa_core.config import TrainConfig
from lisa_core.data.base import Example, SegmentationDataset, group_by_image
from lisa_core.data.collate import Collator
from lisa_core.data.sampler import SentenceBatchSampler
from lisa_core.errors import DataError
from lisa_core.vlm import Batch


class _Decoded(Dataset[Example | str]):
    """Decodes by index; a sample that cannot be decoded becomes the line that says why.

    It is not raised here: a worker process would hand over the error as the text of a whole traceback.
    """

    def __init__(self, dataset: SegmentationDataset) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Example | str:
        try:
            return self.dataset.load(index)
        except DataError as error:
            return str(error)


class _SkippingCollator:
    """Collates what could be decoded; `batch["skipped"]` holds the lines about the rest."""

    def __init__(self, collator: Collator) -> None:
        self.collator = collator

    def __call__(self, items: Sequence[Example | str]) -> Batch:
        examples = [item for item in items if isinstance(item, Example)]
        batch: Batch = self.collator(examples) if examples else {}
        batch["skipped"] = [item for item in items if isinstance(item, str)]
        return batch


def train_loader(dataset: SegmentationDataset, collator: Collator, config: TrainConfig) -> DataLoader:
    """Batches of the first `max_train_samples` sentences, reshuffled by `batch_sampler.set_epoch`.

    `batch["skipped"]` holds a line for each sample that could not be decoded, whatever `on_error` says: what follows
    from it is for the caller to decide. A batch none of whose samples could be decoded holds nothing else.
    """
    samples = dataset.samples[: config.data.max_train_samples]
    sampler = SentenceBatchSampler(
        group_by_image(samples), config.data.batch_size, config.data.sentences_per_image, config.optim.seed
    )
    return DataLoader(
        _Decoded(dataset),
        batch_sampler=sampler,
        collate_fn=_SkippingCollator(collator),
        num_workers=config.data.num_workers,
        persistent_workers=config.data.num_workers > 0,
    )
