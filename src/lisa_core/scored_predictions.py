"""Evaluation of a file of predictions, without any model: masks by any tool, with the figures of `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import PureWindowsPath

import numpy as np

from lisa_core.data import Example, OnError, SegmentationDataset, group_by_image
from lisa_core.errors import DataError
from lisa_core.evaluation import EvaluationResult
from lisa_core.predictions import SavedMask
from lisa_core.records import SampleRecord
from lisa_core.scoring import Drawn, score_picture

_NAMED = 3


def evaluate_predictions(
    dataset: SegmentationDataset,
    predictions: Mapping[str, SavedMask],
    max_samples: int | None = None,
    on_error: OnError = "fail",
    boundary: bool = True,
    only: Collection[str] | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> EvaluationResult:
    """Evaluate masks that were drawn before; a sentence without one counts as an empty mask, and is `unanswered`.

    Args:
        dataset: what they were drawn for.
        predictions: by sample id.
        max_samples: only the first so many sentences of the dataset.
        on_error: what to do about a sample that cannot be read; what is wrong with a prediction always raises.
        boundary: compare edges, too.
        only: ids of the sentences that there are, for all that is counted; None: all.
        on_progress: told after each picture how many sentences it held.

    Raises:
        DataError: if there is a prediction for no sample of the dataset, for another sentence or picture, of the wrong
            size or damaged; or a sample cannot be read and `on_error` is "fail", or none can.
    """
    _check_ids(dataset, predictions)
    samples = dataset.samples[:max_samples]
    masked = [index for index, sample in enumerate(samples) if sample.kind != "text"]
    if not masked:
        raise DataError(f"none of the {len(samples)} samples has a mask, only words: evaluate on another dataset")
    records: list[SampleRecord] = []
    masks: list[SavedMask] = []
    skipped: list[str] = []
    for group in group_by_image([samples[index] for index in masked]):
        examples: list[Example] = []
        drawn: list[Drawn] = []
        indices: list[int] = []
        for index in (masked[place] for place in group):
            if only is not None and samples[index].id not in only:
                continue
            try:
                example = dataset.load(index)
            except DataError as error:
                if on_error == "fail":
                    raise
                skipped.append(str(error))
                continue
            saved = predictions.get(example.sample.id)
            examples.append(example)
            drawn.append(_drawn(example, saved))
            indices.append(index)
            if saved is not None:
                masks.append(replace(saved, index=index))
        if examples:
            records += score_picture(examples, drawn, indices, boundary=boundary)
        if on_progress is not None:
            on_progress(len(group))
    if not records:
        raise DataError(f"none of the {len(samples)} samples could be read; the first: {skipped[0]}")
    return EvaluationResult.of(records, skipped, masks)


def _check_ids(dataset: SegmentationDataset, predictions: Mapping[str, SavedMask]) -> None:
    samples = {sample.id: sample for sample in dataset.samples}
    unknown = [name for name in predictions if name not in samples]
    if unknown:
        shown = ", ".join(map(repr, unknown[:_NAMED])) + (", ..." if len(unknown) > _NAMED else "")
        raise DataError(
            f"{len(unknown)} of {len(predictions)} predictions are for no sample of this split ({shown}): check "
            "--data, --split and --phrasings, or remove them"
        )
    for name, mask in predictions.items():
        if mask.text is not None and samples[name].text and mask.text.strip() != samples[name].text.strip():
            raise DataError(
                f"the prediction for {name!r} is for the sentence {mask.text!r}, but the sample's is "
                f"{samples[name].text!r}: check --data and --split"
            )
        picture = samples[name].image_path.name
        # Other tools may say the folder, too, with either sign between the names.
        if mask.image is not None and picture not in (mask.image, PureWindowsPath(mask.image).name):
            raise DataError(
                f"the prediction for {name!r} is for the picture {mask.image!r}, but the sample's is {picture!r}: "
                "check --data and --split"
            )


def _drawn(example: Example, saved: SavedMask | None) -> Drawn:
    height, width = example.mask.shape
    if saved is None:
        return Drawn(np.zeros((height, width), dtype=bool), answered=False)
    try:
        return saved.drawn(height, width)
    except ValueError as error:
        raise DataError(f"the prediction for {saved.id!r} cannot be used: {error}; write it again") from error
