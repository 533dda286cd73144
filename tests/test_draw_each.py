"""One drawn mask for each target of a batch: what is drawn, what that leaves out, and what it does not touch."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from lisa_core.data.base import Example
from lisa_core.data.collate import Collator
from lisa_core.engine import Engine, MicroBatch
from lisa_core.objective import loss_terms, term_counts
from lisa_core.trainer import Trainer
from lisa_core.vlm import Batch


def trainer_of(
    scenes: Path, out: Path, draw_each: str = "target", turns: int = 1, map_epochs: int = 0, **model: object
) -> Trainer:
    return Trainer(
        TrainConfig(
            model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny", fine_features=True, refine_masks=True, **model),
            data=DataConfig(data=str(scenes), batch_size=4, max_train_samples=12, max_val_samples=4, turns=turns),
            optim=OptimConfig(num_epochs=2, map_epochs=map_epochs, draw_each=draw_each),
            run=RunConfig(output_dir=str(out), device="cpu", sample_masks=0),
        )
    )


def phrasings(trainer: Trainer) -> list[Example]:
    """Sentences of two pictures, of which the third means what the first does, and the last what the fourth does."""
    loaded = [trainer.train_data.load(index) for index in range(len(trainer.train_data.samples))]
    picture = loaded[0].image
    here = [example for example in loaded if example.image.tobytes() == picture.tobytes()]
    other = next(example for example in loaded if example.image.tobytes() != picture.tobytes())
    first, second = here[0], next(one for one in here if (one.mask != here[0].mask).any())

    def again(example: Example) -> Example:
        said = dataclasses.replace(example.sample, text="that one")
        return dataclasses.replace(example, sample=said, mask=example.mask.copy())

    return [first, second, again(first), other, again(other)]


@pytest.mark.parametrize(
    "model",
    [{}, {"fusion": "joint"}, {"map_prompt": "relative"}, {"fusion": "joint", "similarity_map": False}],
    ids=str,
)
def test_what_is_drawn_is_what_would_have_been(scenes: Path, tmp_path: Path, model: dict[str, object]) -> None:
    trainer = trainer_of(scenes, tmp_path / "run", **{"fusion": "late", **model})
    batch = trainer.collator(phrasings(trainer))
    assert batch["drawn"].tolist() == [0, 1, 3] and len(batch["targets"]) == 5
    whole = {name: value for name, value in batch.items() if name != "drawn"}
    net = trainer.model.train()
    some, all_of_them = net(batch), net(whole)
    assert torch.equal(some.rows, all_of_them.rows) and len(some.rows) == 5
    torch.testing.assert_close(some.mask_logits, all_of_them.mask_logits[[0, 1, 3]])
    torch.testing.assert_close(some.iou, all_of_them.iou[[0, 1, 3]])
    terms, iou = loss_terms(some, batch)
    every, every_iou = loss_terms(all_of_them, whole)
    torch.testing.assert_close(iou, every_iou[[0, 1, 3]])
    counts = term_counts(batch)
    for name, term in terms.items():
        assert term.count == counts[name], name
        assert term.each is not None and every[name].each is not None and term.rows is not None
        drawn = name in ("bce", "dice", "iou")
        torch.testing.assert_close(term.each, every[name].each[[0, 1, 3]] if drawn else every[name].each)
        assert name == "ce" or term.rows.tolist() == ([0, 1, 3] if drawn else [0, 1, 2, 3, 4])


def test_turns_of_a_conversation_are_drawn_once_too(scenes: Path, tmp_path: Path) -> None:
    trainer = trainer_of(scenes, tmp_path / "run", fusion="joint", turns=4)
    batch = trainer.collator(phrasings(trainer))
    assert batch["seg_row"].tolist() == [0, 0, 0, 1, 1] and batch["drawn"].tolist() == [0, 1, 3]
    terms, _ = loss_terms(trainer.model.train()(batch), batch)
    assert terms["bce"].rows is not None and terms["bce"].rows.tolist() == [0, 0, 1] and terms["similarity"].count == 5


def test_where_every_sentence_is_drawn_nothing_is_said_of_it(scenes: Path, tmp_path: Path) -> None:
    examples = phrasings(trainer_of(scenes, tmp_path / "one"))
    assert "drawn" not in trainer_of(scenes, tmp_path / "two", "sentence").collator(examples)
    assert "drawn" not in trainer_of(scenes, tmp_path / "three").collator(examples[:2])


def test_two_things_that_are_not_there_are_two(scenes: Path, tmp_path: Path) -> None:
    trainer = trainer_of(scenes, tmp_path / "run")
    examples = [dataclasses.replace(example, mask=0 * example.mask) for example in phrasings(trainer)[:3]]
    assert "drawn" not in trainer.collator(examples)


def test_answers_in_words_and_of_several_masks(scenes: Path, tmp_path: Path) -> None:
    trainer = trainer_of(scenes, tmp_path / "run", fusion="joint")
    first, second, again, other, _ = phrasings(trainer)
    words = dataclasses.replace(other, sample=dataclasses.replace(other.sample, kind="text", answer="A picture."))
    both = dataclasses.replace(
        first, sample=dataclasses.replace(first.sample, kind="masks"), masks=[second.mask, first.mask]
    )
    batch = trainer.collator([words, both, again, other])
    assert batch["seg_row"].tolist() == [1, 1, 2, 3] and batch["drawn"].tolist() == [0, 1, 3]
    terms, iou = loss_terms(trainer.model.train()(batch), batch)
    assert len(iou) == 3 and terms["bce"].rows is not None and terms["bce"].rows.tolist() == [1, 1, 3]
    assert "drawn" not in trainer.collator([words, words])


def test_micro_batches_of_which_more_or_less_is_drawn_weigh_right(scenes: Path, tmp_path: Path) -> None:
    trainer = trainer_of(scenes, tmp_path / "run")
    examples = phrasings(trainer)
    engine = Engine(trainer.model.eval(), trainer.config, trainer.processes, total_steps=2)
    batches = [trainer.collator(examples[:3]), trainer.collator(examples[3:])]
    with torch.no_grad():
        terms = [loss_terms(trainer.model(batch), batch)[0]["bce"] for batch in batches]
    assert [term.count for term in terms] == [2, 1]
    step = engine.step([MicroBatch(batch) for batch in batches])
    assert step.record["bce"] == pytest.approx(sum(float(term.total) for term in terms) / 3, rel=1e-5)


def test_a_step_counts_the_masks_it_drew(scenes: Path, tmp_path: Path) -> None:
    trainer = trainer_of(scenes, tmp_path / "run")
    examples = phrasings(trainer)
    first, other = examples[0].sample.dataset, "other"
    for number in (3, 4):
        named = dataclasses.replace(examples[number].sample, dataset=other)
        examples[number] = dataclasses.replace(examples[number], sample=named)
    # What both datasets hold is each one's own.
    shared = dataclasses.replace(examples[2], sample=dataclasses.replace(examples[2].sample, dataset=other))
    batch = trainer.collator([*examples, shared])
    engine = Engine(trainer.model.train(), trainer.config, trainer.processes, total_steps=2, datasets=[first, other])
    step = engine.step([MicroBatch(batch)])
    assert step.finite and step.record["masks"] == 4
    assert {name: (of["masks"], of["samples"]) for name, of in step.datasets.items()} == {first: (2, 3), other: (2, 3)}


@pytest.mark.parametrize("fusion", ["late", "joint"])
def test_a_run_with_map_epochs(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fusion: str) -> None:
    trainer = trainer_of(scenes, tmp_path / "run", map_epochs=1, fusion=fusion)
    collator = trainer.collator
    assert collator.draw_each == "target"
    drawn: list[int] = []
    collate = collator.__class__.__call__

    def watched(self: Collator, examples: list[Example]) -> Batch:
        twins = [dataclasses.replace(example, mask=examples[0].mask) for example in examples]  # one target a picture
        batch = collate(self, twins)
        drawn.append(len(batch.get("drawn", batch["targets"])))
        return batch

    monkeypatch.setattr(Collator, "__call__", watched)
    trainer.run()
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    masks = [record["masks"] for record in records if record["kind"] == "step"]
    assert masks[:3] == [4, 4, 4], "the map learns from every sentence"
    assert masks[3:] == drawn[3:6] and max(masks[3:]) <= 2, "a batch of four has two pictures"
