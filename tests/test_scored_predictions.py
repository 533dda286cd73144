"""Masks from a file, scored without a model; `test_evaluator.py` checks that a model's own come out the same."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lisa_core.data import IGNORE, Example, Sample, SegmentationDataset
from lisa_core.errors import DataError
from lisa_core.outputs import mask_to_rle
from lisa_core.predictions import SavedMask
from lisa_core.scored_predictions import evaluate_predictions


class Squares(SegmentationDataset):
    """Pictures of 10 x 20 pixels with two sentences each: the left square, the right square; column 0 is ignored."""

    def __init__(self, pictures: int = 3, instances: bool = False) -> None:
        self.skipped = []
        self.instances = instances
        self.samples = [
            Sample(f"{k}#{side}", Path(f"{k}.jpg"), Path(f"{k}.json"), ("left", "right")[side], False, source="squares")
            for k in range(pictures)
            for side in (0, 1)
        ]

    def load(self, index: int) -> Example:
        sample = self.samples[index]
        if sample.text == "corrupt":
            raise DataError(f"{sample.image_path} is not an image")
        mask = np.zeros((10, 20), np.uint8)
        mask[2:8, 2 + 10 * (index % 2) : 8 + 10 * (index % 2)] = 1
        mask[:, 0] = IGNORE
        image = Image.fromarray(np.full((10, 20, 3), index // 2, np.uint8))
        return Example(sample, image, mask, instances=[mask] if self.instances else None)


def right_masks(dataset: SegmentationDataset, shift: int = 0) -> dict[str, SavedMask]:
    """The truth of every sentence, moved to the right."""
    masks = {}
    for k, sample in enumerate(dataset.samples):
        mask = np.roll(dataset.load(k).mask == 1, shift, axis=1)
        masks[sample.id] = SavedMask(sample.id, sample.text, sample.image_path.name, mask_to_rle(mask), 0.9)
    return masks


def test_figures_of_masks_by_hand():
    dataset = Squares()
    result = evaluate_predictions(dataset, right_masks(dataset))
    assert (result.giou, result.metrics.ciou, result.metrics.n) == (1.0, 1.0, 6)
    assert result.listening == 1.0 and result.pairs == 6 and result.blank_giou is None
    assert [record.id for record in result.records] == [sample.id for sample in dataset.samples]
    assert all(record.boundary_iou == 1.0 and record.score == 0.9 for record in result.records)
    assert {record.picture for record in result.records} == {"0#0", "1#0", "2#0"}
    assert result.records[0].counted_pixels == 190 and result.records[0].truth_pixels == 36
    shifted = evaluate_predictions(dataset, right_masks(dataset, 3))
    # 3 of 6 columns overlap; of the right square's 3 other ones, one comes back in the ignored column
    assert shifted.giou == pytest.approx((18 / 54 + 18 / 48) / 2)
    swapped = evaluate_predictions(dataset, right_masks(dataset, 10))
    assert swapped.listening == 0.0 and swapped.baselines == result.baselines


def test_a_missing_mask_counts_as_an_empty_one_and_is_named():
    dataset = Squares()
    masks = right_masks(dataset)
    del masks["1#0"]
    masks["2#1"] = SavedMask("2#1", None, None, None)
    result = evaluate_predictions(dataset, masks)
    assert result.giou == 4 / 6 and result.metrics.n == 6
    assert result.unanswered == ["1#0", "2#1"]
    assert result.metrics.ciou == 4 / 6, "the truth's pixels stay in the union"
    assert [record.score for record in result.records].count(None) == 2
    assert [mask.id for mask in result.masks] == ["0#0", "0#1", "1#1", "2#0", "2#1"]


def test_answers_in_words_alone_are_not_scored():
    dataset = Squares()
    masks = right_masks(dataset, 3)
    of_all = {record.id: record for record in evaluate_predictions(dataset, masks).records}
    dataset.samples[2] = replace(dataset.samples[2], kind="text")
    found = evaluate_predictions(dataset, {name: mask for name, mask in masks.items() if name != "1#0"})
    assert [record.id for record in found.records] == ["0#0", "0#1", "1#1", "2#0", "2#1"]
    assert not found.unanswered and all(record.iou == of_all[record.id].iou for record in found.records)
    assert [record.index for record in found.records] == [0, 1, 3, 4, 5]
    dataset.samples = [replace(sample, kind="text") for sample in dataset.samples]
    with pytest.raises(DataError, match="none of the 6 samples has a mask, only words"):
        evaluate_predictions(dataset, {})


def test_several_masks_against_the_objects_of_the_data():
    dataset = Squares(1, instances=True)
    masks = right_masks(dataset)
    whole = dataset.load(0).mask == 1
    halves = [whole & (np.arange(20) < 4), whole & (np.arange(20) >= 4)]
    masks["0#0"] = SavedMask("0#0", None, None, mask_to_rle(whole), None, [mask_to_rle(half) for half in halves])
    first, second = evaluate_predictions(dataset, masks).records
    assert (first.iou, first.instances.drawn, first.instances.found) == (1.0, 2, 1)
    assert first.instances.iou == pytest.approx(24 / 36)
    assert (second.instances.drawn, second.instances.found, second.instances.objects) == (1, 1, 1)
    assert evaluate_predictions(Squares(1), right_masks(Squares(1))).records[0].instances is None


@pytest.mark.parametrize(
    ("name", "mask", "said"),
    [
        ("9#0", SavedMask("9#0", None, None, None), r"1 of 7 predictions are for no sample of this split \('9#0'\)"),
        ("0#0", SavedMask("0#0", "right", None, None), "is for the sentence 'right', but the sample's is 'left'"),
        ("0#0", SavedMask("0#0", "left", "1.jpg", None), r"is for the picture '1\.jpg', but the sample's is '0\.jpg'"),
        (
            "0#0",
            SavedMask("0#0", None, None, {"size": [20, 10], "counts": [200]}),
            r"'0#0' cannot be used: its size is",
        ),
        (
            "0#0",
            SavedMask("0#0", None, None, {"size": [10, 20], "counts": [9]}),
            "'0#0' cannot be used: its counts sum",
        ),
    ],
)
def test_what_does_not_go_with_the_data_is_refused(name, mask, said):
    dataset = Squares()
    with pytest.raises(DataError, match=said):
        evaluate_predictions(dataset, {**right_masks(dataset), name: mask}, on_error="skip")


@pytest.mark.parametrize("image", ["0.jpg", "val/0.jpg", "C:\\val\\0.jpg"])
def test_the_folder_of_a_picture_may_be_another(image):
    masks = right_masks(Squares())
    masks["0#0"] = replace(masks["0#0"], image=image)
    assert evaluate_predictions(Squares(), masks).giou == 1.0


def test_many_unknown_ids_are_counted_not_listed():
    masks = {f"x{k}": SavedMask(f"x{k}", None, None, None) for k in range(50)}
    with pytest.raises(DataError, match=r"50 of 50 .*'x0', 'x1', 'x2', \.\.\."):
        evaluate_predictions(Squares(), masks)


def test_only_the_first_sentences_and_samples_that_cannot_be_read():
    dataset = Squares()
    steps: list[int] = []
    result = evaluate_predictions(dataset, right_masks(dataset), max_samples=3, on_progress=steps.append)
    assert result.metrics.n == 3 == sum(steps) and result.unanswered == []
    masks = right_masks(dataset)
    broken = dataset.samples[0]
    dataset.samples[0] = Sample(broken.id, broken.image_path, broken.annotation_path, "corrupt", False)
    masks[broken.id] = SavedMask(broken.id, None, None, None)
    with pytest.raises(DataError, match="not an image"):
        evaluate_predictions(dataset, masks)
    result = evaluate_predictions(dataset, masks, on_error="skip", boundary=False)
    assert result.skipped == ["0.jpg is not an image"] and result.metrics.n == 5
    assert result.records[0].boundary_iou is None
    with pytest.raises(DataError, match="none of the 1 samples"):
        evaluate_predictions(dataset, masks, max_samples=1, on_error="skip")
