"""Evaluations of made-up masks on the small scenes, for the tests of the HTML pages; no model, no training."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lisa_core.data import SegmentationDataset, open_dataset
from lisa_core.evaluation import EvaluationResult
from lisa_core.outputs import mask_to_rle
from lisa_core.predictions import SavedMask
from lisa_core.scored_predictions import evaluate_predictions

EVIL = "<script>document.title = 'taken over'</script> & \"the\" 'ring' <img src=x onerror=alert(1)>"
"""A sentence that is code, if it is not escaped."""


class Scored(NamedTuple):
    """Masks, and what they scored."""

    dataset: SegmentationDataset
    masks: dict[str, SavedMask]
    result: EvaluationResult


def scored(scenes: Path, folder: Path, shift: int = 3, score: float = 0.6) -> Scored:
    """The truths of the scenes, each one moved by `shift` pixels times its number, in part; two have no mask.

    One of the sentences is `EVIL`, and that picture's name has signs that HTML knows.
    """
    if not folder.exists():
        shutil.copytree(scenes, folder)
        annotation = sorted((folder / "val").glob("*.json"))[0]
        content = json.loads(annotation.read_text())
        content["text"] = [EVIL]
        annotation.write_text(json.dumps(content))
        for path in (annotation, annotation.with_suffix(".jpg")):
            path.rename(path.with_name("a<b>&'" + path.suffix))
    dataset = open_dataset(folder, "val", "first")
    masks = {}
    for k, sample in enumerate(dataset.samples):
        if k in (2, 5):
            continue
        truth = dataset.load(k).mask == 1
        mask = np.roll(truth, shift * (k % 5), axis=1)
        reply = "It is [SEG]. <b>bold</b>" if k == 0 else None
        masks[sample.id] = SavedMask(
            sample.id, sample.text, sample.image_path.name, mask_to_rle(mask), min(score + 0.02 * k, 1.0), reply=reply
        )
    return Scored(dataset, masks, evaluate_predictions(dataset, masks))
