"""One drawn mask for each target of a batch: what is drawn, what that leaves out, and what it does not touch."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lisa_core.config import DataConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from lisa_core.data.base import Example
from lisa_core.data.collate import first_of_each
from lisa_core.engine import Engine, MicroBatch
from lisa_core.objective import loss_terms, term_counts
from lisa_core.trainer import Trainer


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), max_size=12))
def test_the_first_mask_of_each_target_of_each_picture(made: list[tuple[int, int]]) -> None:
    masks = torch.randperm(16).view(4, 2, 2).float()
    masks[1] = masks[0].flip(0)  # another one of the same area
    targets = torch.stack([masks[mask] for _, mask in made]) if made else torch.zeros(0, 2, 2)
    found = first_of_each(targets, torch.tensor([picture for picture, _ in made], dtype=torch.int64))
    assert found.dtype == torch.int64
    assert found.tolist() == [number for number, pair in enumerate(made) if pair not in made[:number]]


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
    "model", [{}, {"fusion": "joint"}, {"map_prompt": "relative"}, {"similarity_map": False}], ids=str
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


def test_a_step_counts_the_masks_it_drew(scenes: Path, tmp_path: Path) -> None:
    trainer = trainer_of(scenes, tmp_path / "run")
    examples = phrasings(trainer)
    for example in examples[3:]:
        object.__setattr__(example.sample, "dataset", "other")
    first, other = examples[0].sample.dataset, "other"
    batch = trainer.collator(examples)
    engine = Engine(trainer.model.train(), trainer.config, trainer.processes, total_steps=2, datasets=[first, other])
    step = engine.step([MicroBatch(batch)])
    assert step.finite and step.record["masks"] == 3
    assert {name: (of["masks"], of["samples"]) for name, of in step.datasets.items()} == {first: (2, 3), other: (1, 2)}


@pytest.mark.parametrize("fusion", ["late", "joint"])
def test_a_run_with_map_epochs(scenes: Path, tmp_path: Path, fusion: str) -> None:
    trainer = trainer_of(scenes, tmp_path / "run", map_epochs=1, fusion=fusion)
    collator = trainer.collator
    load = trainer.train_data.load

    def twins(index: int) -> Example:  # every two sentences mean the same
        example, twin = load(index), load(index - index % 2)
        return dataclasses.replace(example, image=twin.image, mask=twin.mask)

    trainer.train_data.load = twins  # type: ignore[method-assign]
    assert collator.draw_each == "target"
    trainer.run()
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    masks = [record["masks"] for record in records if record["kind"] == "step"]
    assert masks[:3] == [4, 4, 4], "the map learns from every sentence"
    assert sum(masks[3:]) < 12 and min(masks[3:]) >= 1
