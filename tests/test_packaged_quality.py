"""The packaged model goes by the words: without them, or with another object's, it is no better than a blind guess."""

from __future__ import annotations

import pytest

from lisa_core import Segmenter
from lisa_core.data import open_dataset
from lisa_core.data.synth import SynthConfig, synthesize
from lisa_core.evaluation import EvaluationResult
from lisa_core.evaluator import evaluate


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> EvaluationResult:
    folder = tmp_path_factory.mktemp("scenes") / "shapes"
    synthesize(folder, SynthConfig(train=0, val=60, test=0, seed=7))
    segmenter = Segmenter.load("tiny")
    return evaluate(segmenter.model, open_dataset(folder, "val", "first"), segmenter.collator)


def test_the_words_decide(result: EvaluationResult) -> None:
    blind = max(result.baselines["largest_object"], result.baselines["centre_blob"])
    assert result.giou > 0.7 and result.listening is not None and result.listening > 0.88
    assert result.blank_giou is not None and result.swapped_giou is not None
    assert result.swapped_giou < blind < result.giou
    assert result.blank_giou < blind, "without words there is no object to find"
    assert result.giou > 2 * blind


def test_words_for_places_and_sizes_too(result: EvaluationResult) -> None:
    compared = [
        record.iou
        for record in result.records
        if any(word in record.text.lower() for word in ("most", "largest", "smallest", "biggest", " left", " right"))
    ]
    assert len(compared) > 15 and sum(compared) / len(compared) > 0.5
