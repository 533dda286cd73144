from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lisa_core import evaluator
from lisa_core.build import build_model, sam_size
from lisa_core.config import ModelConfig
from lisa_core.data import IGNORE, Example, Sample, SegmentationDataset, open_dataset
from lisa_core.data.collate import Collator
from lisa_core.errors import ConfigError, DataError
from lisa_core.evaluator import EvaluationResult, Judged, evaluate
from lisa_core.inference import encode, predict_answers, predict_generated
from lisa_core.predictions import read_predictions, write_predictions
from lisa_core.prompts import answer
from lisa_core.scored_predictions import evaluate_predictions
from lisa_core.segmenter import Segmenter
from lisa_core.vlm import SEG_TOKEN

CONFIG = ModelConfig(vlm="clip-llm", vlm_model_name="tiny")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(3)
    return build_model(CONFIG)


@pytest.fixture(scope="module")
def collator(model) -> Collator:
    return Collator(model.vlm, CONFIG, sam_size(CONFIG))


class Pictures(SegmentationDataset):
    """Noise pictures by name, with a target rectangle for each sentence, and a strip that is ignored."""

    def __init__(self, *rows: tuple[str, str, tuple[int, int, int, int]], size: tuple[int, int] = (60, 40)) -> None:
        self.skipped = []
        self.boxes = [box for _, _, box in rows]
        self.size = size
        self.samples = [
            Sample(f"{i}#0", Path(name), Path(f"{i}.json"), text, False) for i, (name, text, _) in enumerate(rows)
        ]

    def load(self, index: int) -> Example:
        sample = self.samples[index]
        if sample.text == "corrupt":
            raise DataError(f"{sample.image_path} is not an image")
        width, height = self.size
        seed = sum(sample.image_path.name.encode())
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        mask = np.zeros((height, width), np.uint8)
        left, top, right, bottom = self.boxes[index]
        mask[top:bottom, left:right] = 1
        mask[:, -5:] = IGNORE
        return Example(sample, Image.fromarray(pixels), mask)


LEFT, RIGHT = (0, 0, 20, 40), (30, 5, 60, 30)


def run(model, collator, dataset, **options) -> tuple[EvaluationResult, list[Judged]]:
    judged: list[Judged] = []
    return evaluate(model, dataset, collator, on_judged=judged.append, **options), judged


def share(mask: np.ndarray, truth: np.ndarray) -> float:
    """IoU by sets of pixels."""
    counted = {tuple(p) for p in np.argwhere(truth != IGNORE)}
    drawn = {tuple(p) for p in np.argwhere(mask)} & counted
    wanted = {tuple(p) for p in np.argwhere(truth == 1)}
    return len(drawn & wanted) / len(drawn | wanted) if drawn | wanted else 1.0


def test_the_figures_are_those_of_the_masks(model, collator, scenes):
    dataset = open_dataset(scenes, "val", "first")
    result, judged = run(model, collator, dataset, batch_size=3)
    assert sorted(j.example.sample.id for j in judged) == sorted(sample.id for sample in dataset.samples)
    assert any(j.mask.any() and not j.mask.all() for j in judged)
    # The same masks as a user gets.
    for j in judged:
        alone = Segmenter(model).set_image(j.example.image).segment(j.example.sample.text, j.example.sample.is_sentence)
        assert (alone.mask != j.mask).mean() < 0.002
    ious = [share(j.mask, j.example.mask) for j in judged]
    assert [j.iou for j in judged] == ious
    both = sum(np.count_nonzero(j.mask & (j.example.mask == 1)) for j in judged)
    either = sum(np.count_nonzero((j.mask | (j.example.mask == 1)) & (j.example.mask != IGNORE)) for j in judged)
    assert result.giou == pytest.approx(sum(ious) / len(ious), abs=1e-12)
    assert result.metrics.ciou == pytest.approx(both / either, abs=1e-12)
    assert result.metrics.n == len(dataset) and result.skipped == []
    for threshold, found in result.metrics.precision.items():
        assert found == pytest.approx(sum(iou > threshold for iou in ious) / len(ious))


def test_listening_is_over_pairs_of_sentences_of_one_picture(model, collator, scenes):
    result, judged = run(model, collator, open_dataset(scenes, "val", "first"))
    hits = pairs = 0
    for a in judged:
        for b in judged:
            same = a.example.image.tobytes() == b.example.image.tobytes()
            if a is not b and same and share(a.example.mask == 1, b.example.mask) < 0.5:
                pairs += 1
                hits += share(a.mask, a.example.mask) > share(a.mask, b.example.mask)
    assert result.pairs == pairs > 0
    assert result.listening == hits / pairs


def test_without_two_objects_in_a_picture_there_is_nothing_to_listen_for(model, collator):
    result, _ = run(model, collator, Pictures(("a", "one", LEFT), ("b", "two", RIGHT), ("a", "same as one", LEFT)))
    assert result.listening is None and result.pairs == 0
    result, _ = run(model, collator, Pictures(("a", "one", LEFT), ("a", "two", RIGHT)))
    assert result.pairs == 2 and result.listening in (0, 0.5, 1)


def test_a_blanked_sentence_is_an_empty_one_about_the_same_picture(model, collator, monkeypatch):
    dataset = Pictures(("a", "one", LEFT), ("b", "two", RIGHT), ("a", "three", RIGHT))
    asked: list[tuple[list[str], list[int]]] = []
    answers: list[np.ndarray] = []

    def spy(model, collator, encoded, questions, given, index, mirrored):
        rows = predict_answers(model, collator, encoded, questions, given, index, mirrored)
        asked.append((list(questions), list(index)))
        answers[:] = [(prediction.logits > 0).numpy() for (prediction,) in rows]
        return rows

    monkeypatch.setattr(evaluator, "predict_answers", spy)
    result, judged = run(model, collator, dataset)
    assert [questions for questions, _ in asked] == [
        ["Segment one.", "Segment three.", "Segment two."],
        ["Segment ."] * 2,
    ]
    assert asked[1][1] == [0, 1]
    truths = [j.example.mask for j in judged]
    expected = [share(answers[image], truth) for image, truth in zip([0, 0, 1], truths)]
    assert result.blank_giou == pytest.approx(np.mean(expected), abs=1e-12)
    assert run(model, collator, dataset, blank=False)[0].blank_giou is None
    assert len(asked) == 3


def test_baselines_never_read_the_sentence(model, collator):
    result, _ = run(model, collator, Pictures(("a", "one", LEFT), ("a", "two", RIGHT)))
    # RIGHT is 30 wide of which 5 are ignored, 25 high: smaller than LEFT, which is guessed for both sentences.
    assert result.baselines["largest_object"] == pytest.approx((1.0 + 0.0) / 2)
    y, x = np.mgrid[0:40, 0:60]
    blob = ((y + 0.5) / 40 - 0.5) ** 2 + ((x + 0.5) / 60 - 0.5) ** 2 <= 1 / (4 * np.pi)
    dataset = Pictures(("a", "one", LEFT), ("a", "two", RIGHT))
    expected = np.mean([share(blob, dataset.load(index).mask) for index in range(2)])
    assert result.baselines["centre_blob"] == pytest.approx(expected)


def test_a_picture_stored_twice_is_encoded_once_and_its_sentences_are_pairs(
    model, collator, scenes, tmp_path, monkeypatch
):
    first = sorted((scenes / "val").glob("*.jpg"))[0]
    stem = first.stem.rpartition("_")[0]
    (tmp_path / "val").mkdir()
    for path in (scenes / "val").glob(f"{stem}_*"):
        shutil.copyfile(path, tmp_path / "val" / path.name)
    dataset = open_dataset(tmp_path, "val", "first")
    assert len({sample.image_path for sample in dataset.samples}) == len(dataset) >= 2
    encoded: list[int] = []
    monkeypatch.setattr(
        evaluator,
        "encode",
        lambda model, collator, images: encoded.append(len(images)) or encode(model, collator, images),
    )
    for batch_size in (1, 16):
        result, _ = run(model, collator, dataset, batch_size=batch_size)
        assert result.pairs == len(dataset) * (len(dataset) - 1)
    assert encoded == [1, 1]


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_the_batch_size_changes_nothing(model, collator, scenes, batch_size):
    dataset = open_dataset(scenes, "val", "all")
    expected, result = (run(model, collator, dataset, batch_size=size)[0] for size in (16, batch_size))
    assert result.giou == pytest.approx(expected.giou, abs=0.002)
    assert (result.metrics.n, result.pairs) == (expected.metrics.n, expected.pairs)
    assert result.baselines == pytest.approx(expected.baselines)


def test_only_the_first_samples_and_the_progress_of_each_step(model, collator):
    dataset = Pictures(*((name, "it", LEFT) for name in "abcde"))
    steps: list[int] = []
    result, judged = run(model, collator, dataset, batch_size=2, max_samples=3, on_progress=steps.append)
    assert result.metrics.n == 3 and steps == [2, 1]
    assert [j.example.sample.id for j in judged] == ["0#0", "1#0", "2#0"]


def test_a_sample_that_cannot_be_read_stops_or_is_left_out(model, collator):
    dataset = Pictures(("a", "one", LEFT), ("b", "corrupt", LEFT), ("c", "two", RIGHT))
    with pytest.raises(DataError, match=r"^b is not an image$"):
        run(model, collator, dataset)
    result, _ = run(model, collator, dataset, on_error="skip", batch_size=1)
    assert result.skipped == ["b is not an image"] and result.metrics.n == 2 and result.to_dict()["skipped"] == 1
    expected, _ = run(model, collator, Pictures(("a", "one", LEFT), ("c", "two", RIGHT)))
    assert result.giou == pytest.approx(expected.giou, abs=0.002)


def test_nothing_that_can_be_read_is_an_error_even_when_skipping(model, collator):
    with pytest.raises(DataError, match="none of the 2 samples could be read; the first: a is not an image"):
        run(model, collator, Pictures(("a", "corrupt", LEFT), ("b", "corrupt", LEFT)), on_error="skip")


def test_a_model_in_training_is_put_into_evaluation_mode(model, collator):
    model.train()
    run(model, collator, Pictures(("a", "one", LEFT)))
    assert not any(module.training for module in model.modules())


def test_the_result_is_plain_data(model, collator):
    record = run(model, collator, Pictures(("a", "one", LEFT), ("a", "two", RIGHT)))[0].to_dict()
    assert json.loads(json.dumps(record, allow_nan=False)) == record
    assert EvaluationResult.from_dict(record).to_dict() == record
    assert {
        "giou",
        "ciou",
        "precision",
        "n",
        "listening",
        "listening_pairs",
        "blank_giou",
        "swapped_giou",
        "baselines",
    } <= record.keys()


def test_a_score_that_is_no_number_is_none(model, collator, monkeypatch):
    def broken(*args):
        rows = predict_answers(*args)
        rows[0][0].iou, rows[1][0].iou = float("nan"), 7.0
        return rows

    monkeypatch.setattr(evaluator, "predict_answers", broken)
    dataset = Pictures(("a", "one", LEFT), ("a", "two", RIGHT))
    result, _ = run(model, collator, dataset, keep_masks=True, blank=False)
    assert [mask.score for mask in result.masks] == [None, 1.0]
    json.dumps([mask.to_dict() for mask in result.masks], allow_nan=False)


class Kinds(Pictures):
    """Its first sample is answered with two masks, its second in words alone."""

    def __init__(self, *entries) -> None:
        super().__init__(*entries)
        kinds = [("masks", "one {seg} and two {seg}"), ("text", "a ring")]
        for index, (kind, said) in enumerate(kinds):
            self.samples[index] = replace(self.samples[index], kind=kind, answer=said)

    def load(self, index):
        example = super().load(index)
        example.sample = self.samples[index]
        if index == 0:
            example.masks = example.instances = [np.triu(example.mask), np.tril(example.mask, -1)]
        return example


def test_an_answer_of_several_masks_is_their_union_and_one_in_words_alone_is_left_out(model, collator):
    dataset = Kinds(("a", "one", LEFT), ("a", "two", RIGHT), ("b", "three", RIGHT))
    result, judged = run(model, collator, dataset, keep_masks=True, blank=False)
    assert [record.text for record in result.records] == ["one", "three"] and result.metrics.n == 2
    encoded = encode(model, collator, [judged[0].example.image])
    words = [f"one {SEG_TOKEN} and two {SEG_TOKEN}"]
    (drawn,) = predict_answers(model, collator, encoded, ["Segment one."], words, [0])
    masks = [(prediction.logits > 0).numpy() for prediction in drawn]
    assert len(masks) == 2 and np.array_equal(judged[0].mask, masks[0] | masks[1])
    assert result.records[0].instances is not None and result.records[0].instances.objects == 2
    assert result.records[1].instances is None
    nothing = Kinds(("a", "one", LEFT), ("a", "two", RIGHT))
    nothing.samples = nothing.samples[1:]
    with pytest.raises(DataError, match="none of the 1 samples has a mask"):
        run(model, collator, nothing)


class Speaking:
    """`VLM.generate` that continues each question as `replies` says."""

    def __init__(self, vlm, **replies: str) -> None:
        self.vlm = vlm
        self.replies = replies

    def __call__(self, batch, max_new_tokens):
        rows = []
        for ids, mask in zip(batch["input_ids"], batch["attention_mask"]):
            prompt = ids[mask.bool()]
            asked = self.vlm.tokenizer.decode(prompt)
            (said,) = [reply for word, reply in self.replies.items() if word in asked]
            new = self.vlm.tokenizer(said, add_special_tokens=False)["input_ids"][:max_new_tokens]
            rows.append(torch.cat([prompt, torch.tensor(new, dtype=torch.long)]))
        return rows


@pytest.fixture
def speaking(model, monkeypatch):
    def script(**replies: str) -> None:
        monkeypatch.setattr(model.vlm, "generate", Speaking(model.vlm, **replies))

    return script


def test_a_generated_answer_that_is_the_given_one_draws_the_same_mask(model, collator, speaking):
    dataset = Pictures(("a", "one", LEFT), ("b", "two", RIGHT), ("a", "three", RIGHT))
    speaking(one=f" {answer()}", two=f" {answer()}", three=f" {answer()}")
    forced, given = run(model, collator, dataset, keep_masks=True, blank=False)
    generated, said = run(model, collator, dataset, protocol="generated", keep_masks=True, blank=False)
    for a, b in zip(given, said):
        assert a.example.sample == b.example.sample and (a.mask != b.mask).mean() < 0.002
    assert generated.giou == pytest.approx(forced.giou, abs=0.005) and generated.unanswered == []
    assert [mask.reply for mask in generated.masks] == [" It is [SEG]."] * 3
    assert [mask.reply for mask in forced.masks] == [None] * 3
    assert [a.score for a in generated.records] == pytest.approx([a.score for a in forced.records], abs=1e-3)


def test_no_seg_is_an_empty_mask_and_several_are_united(model, collator, speaking):
    dataset = Pictures(("a", "one", LEFT), ("a", "two", RIGHT), ("b", "three", (0, 0, 0, 0)), ("b", "four", LEFT))
    speaking(one=" There is none.", two=" [SEG] and [SEG].", three="", four=" [SEG]")
    result, judged = run(model, collator, dataset, protocol="generated", keep_masks=True, blank=False)
    by_text = {j.example.sample.text: j for j in judged}
    assert not by_text["one"].mask.any() and by_text["one"].iou == 0.0
    assert not by_text["three"].mask.any() and by_text["three"].iou == 1.0, "nothing to find, nothing drawn"
    assert result.unanswered == ["0#0", "2#0"] and result.metrics.n == 4
    assert [record.score is None for record in result.records] == [True, False, True, False]
    encoded = encode(model, collator, [by_text["two"].example.image])
    (reply,) = predict_generated(model, collator, encoded, ["Segment two."], [0])
    parts = [(prediction.logits > 0).numpy() for prediction in reply.masks]
    assert len(parts) == 2 and np.array_equal(by_text["two"].mask, parts[0] | parts[1])
    assert len(result.masks[1].instances) == 2 and result.masks[3].instances == []
    assert result.records[1].score == pytest.approx(sum(min(max(p.iou, 0), 1) for p in reply.masks) / 2, abs=1e-5)


def test_a_model_s_own_generation_is_cut_at_the_longest_answer(model, collator):
    encoded = encode(model, collator, [Pictures(("a", "one", LEFT)).load(0).image])
    replies = predict_generated(model, collator, encoded, ["Segment one.", "Segment it."], [0, 0], max_new_tokens=4)
    assert len(replies) == 2
    for reply in replies:
        words = collator.vlm.tokenizer(reply.text, add_special_tokens=False)["input_ids"]
        assert len(words) <= 4 and len(reply.masks) == words.count(model.vlm.seg_token_id)


def test_late_fusion_has_no_answer_to_generate(scenes):
    config = ModelConfig(vlm="clip-llm", vlm_model_name="tiny", fusion="late")
    late = build_model(config)
    with pytest.raises(ConfigError, match="--fusion late the model draws without answering"):
        run(late, Collator(late.vlm, config, sam_size(config)), Pictures(("a", "one", LEFT)), protocol="generated")


def test_masks_that_were_kept_score_the_same_from_a_file(model, collator, scenes, tmp_path):
    dataset = open_dataset(scenes, "val", "first")
    result, judged = run(model, collator, dataset, boundary=True, keep_masks=True, blank=False)
    path = tmp_path / "masks.jsonl"
    write_predictions(path, result.masks)
    again = evaluate_predictions(dataset, read_predictions(path))
    assert again.records == result.records and again.to_dict() == result.to_dict()
    assert [record.boundary_iou is not None for record in again.records] == [True] * len(dataset)
    drawn = {j.example.sample.id: j.mask for j in judged}
    for mask in result.masks:
        assert np.array_equal(mask.drawn(*drawn[mask.id].shape).mask, drawn[mask.id])


class Share:
    """One of two processes, of which the other's tally is at hand."""

    world_size = 2

    def __init__(self, rank: int, tallies: dict[int, object]) -> None:
        self.rank = rank
        self.tallies = tallies

    def gather(self, items):
        self.tallies[self.rank] = items[0]
        return [self.tallies[rank] for rank in sorted(self.tallies)]


def test_shared_among_processes_every_sentence_counts_once(model, collator):
    dataset = Pictures(*((name, text, box) for name in "abcde" for text, box in (("one", LEFT), ("two", RIGHT))))
    alone, _ = run(model, collator, dataset, batch_size=4, keep_masks=True)  # three batches for two processes
    tallies: dict[int, object] = {}
    for rank in (1, 0):
        together, _ = run(model, collator, dataset, batch_size=4, keep_masks=True, processes=Share(rank, tallies))
    assert together.records == alone.records and together.masks == alone.masks
    assert together.to_dict() == alone.to_dict() and together.metrics.n == 10


def test_processes_compute_equally_often_though_one_cannot_read_its_batch(model, collator, monkeypatch):
    """Weights that are shared out are gathered by all or by none: one that computed less would leave them hanging."""
    corrupt = [("b", "corrupt", LEFT), ("b", "corrupt", RIGHT)]
    rows = [("a", "one", LEFT), ("a", "two", RIGHT), *corrupt, ("c", "one", LEFT)]
    alone, _ = run(model, collator, Pictures(*rows), batch_size=2, on_error="skip")
    assert alone.skipped == ["b is not an image"] * 2, "a line for each sentence that is left out"
    counts, tallies = [], {}
    for rank in (0, 1):  # batches 0 and 2, or batch 1, which cannot be read, and none
        encoded = []
        monkeypatch.setattr(evaluator, "encode", lambda *args, to=encoded: to.append(1) or encode(*args))
        sharing = Share(rank, tallies)
        together, _ = run(model, collator, Pictures(*rows), batch_size=2, on_error="skip", processes=sharing)
        counts.append(len(encoded))
    assert counts == [2, 2]
    assert together.records == alone.records and together.to_dict() == alone.to_dict()
    assert together.skipped == alone.skipped
