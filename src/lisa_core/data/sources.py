"""Opens the datasets of a run or an evaluation: one as it is, several as a `Mixture`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from lisa_core.config import DataConfig, existing_data
from lisa_core.data import open_dataset
from lisa_core.data.base import NoSplitError, OnError, Phrasings, SegmentationDataset
from lisa_core.data.mixture import Mixture, open_parts
from lisa_core.errors import DataError
from lisa_core.mixing import Source


def open_sources(
    data: DataConfig, split: str, phrasings: Phrasings, on_line: Callable[[str], None] = lambda line: None
) -> SegmentationDataset:
    """One split of all datasets of a run.

    Of several, those without the split, or without a mask in it, are left out, and told so, unless it is `train`.

    Raises:
        DataError, PluginError: as `open_dataset`.
    """
    sources = data.sources
    openers: dict[str, Callable[[], SegmentationDataset]] = {
        source.name: partial(open_dataset, source.data, split, phrasings, on_error=data.on_error, format=source.format)
        for source in sources
    }
    if len(sources) == 1 and data.sample_rates is None:
        only = openers[sources[0].name]()
        if split != "train" and not _draws(only):
            raise DataError(f"{sources[0].data}: no answer in split '{split}' has a mask: add a dataset that has some")
        return only
    parts = open_parts(openers)[0] if split == "train" else _drawn_parts(openers, split, on_line)
    limits = {"train": data.max_train_samples, "val": data.max_val_samples}
    return Mixture(parts, limits.get(split))


def open_evaluated(
    sources: Sequence[Source],
    split: str,
    phrasings: Phrasings,
    on_error: OnError = "fail",
    on_line: Callable[[str], None] = lambda line: None,
) -> SegmentationDataset:
    """One split of what is evaluated: a dataset as it is, or several as a `Mixture`.

    Of several, those without the split, or without a mask in it, are left out, and told so.

    Raises:
        ConfigError: for a folder that is not there.
        DataError, PluginError: as `open_dataset`.
    """
    roots = [existing_data(source.data) for source in sources]
    openers: dict[str, Callable[[], SegmentationDataset]] = {
        source.name: partial(open_dataset, root, split, phrasings, on_error=on_error, format=source.format)
        for source, root in zip(sources, roots)
    }
    return openers[sources[0].name]() if len(sources) == 1 else Mixture(_drawn_parts(openers, split, on_line))


def _drawn_parts(
    openers: dict[str, Callable[[], SegmentationDataset]], split: str, on_line: Callable[[str], None]
) -> dict[str, SegmentationDataset]:
    """Of several datasets those that have the split, with a mask in it; a line about each of the others."""
    parts, reasons = open_parts(openers, NoSplitError)
    for reason in reasons.values():
        on_line(f"without a split '{split}': {reason}")
    wordy = [name for name, part in parts.items() if not _draws(part)]
    if len(wordy) == len(parts):
        raise DataError(f"no answer of {', '.join(wordy)} in split '{split}' has a mask: add a dataset that has some")
    for name in wordy:
        on_line(f"{name} is left out of split '{split}': its answers are words alone")
        del parts[name]
    return parts


def _draws(dataset: SegmentationDataset) -> bool:
    """Whether any of its answers has a mask."""
    return any(sample.kind != "text" for sample in dataset.samples)
