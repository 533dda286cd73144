from __future__ import annotations

from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lisa_core.build import sam_size
from lisa_core.config import DataConfig, LossConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from lisa_core.data import group_by_image
from lisa_core.data.base import Example
from lisa_core.data.collate import Collator
from lisa_core.engine import Engine, MicroBatch
from lisa_core.losses import LossTerm
from lisa_core.objective import loss_terms, loss_weights, term_counts
from lisa_core.prompts import declines
from lisa_core.trainer import Trainer

WEIGHTS = {
    "ce_weight": 0.7,
    "bce_weight": 2.0,
    "dice_weight": 0.5,
    "similarity_weight": 1.5,
    "contrast_weight": 0.3,
    "pointing_weight": 0.4,
}


class Recorder:
    """Stands for the optimizer: keeps the gradients of the step and leaves the weights alone."""

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = model
        self.gradients: dict[str, torch.Tensor] = {}

    def step(self) -> None:
        named = self.model.named_parameters()
        self.gradients = {name: p.grad.clone() for name, p in named if p.grad is not None}

    def zero_grad(self, set_to_none: bool) -> None:
        self.model.zero_grad(set_to_none=set_to_none)


def joined(groups: list[list[int]]) -> list[int]:
    return list(chain.from_iterable(groups))


def make_trainer(scenes: Path, tmp_path: Path, loss: dict[str, float] = WEIGHTS, **model) -> Trainer:
    return Trainer(
        TrainConfig(
            model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny", **model),
            data=DataConfig(data=str(scenes)),
            optim=OptimConfig(max_grad_norm=0.0),
            loss=LossConfig(**loss),
            run=RunConfig(output_dir=str(tmp_path / "run"), device="cpu"),
        )
    )


def gradients(trainer: Trainer, parts: list[list[int]]) -> tuple[dict[str, torch.Tensor], dict[str, float]]:
    """The gradients of one optimizer step over these micro-batches of sample indices, and what the step reports."""
    batches = [trainer.collator([trainer.train_data.load(index) for index in part]) for part in parts]
    engine = Engine(trainer.model, trainer.config, trainer.processes, total_steps=1)
    engine.optimizer = recorder = Recorder(trainer.model.train())
    step = engine.step([MicroBatch(batch) for batch in batches])
    return recorder.gradients, step.record


def by_picture(trainer: Trainer, count: int) -> list[list[int]]:
    """Two sentences each of `count` pictures: the contrast term is over the sentences of a picture in a micro-batch."""
    return [group[:2] for group in group_by_image(trainer.train_data.samples)[:count]]


@pytest.mark.parametrize("parts", [[2, 2], [1, 1, 1, 1], [3, 1]], ids=["2x4", "4x2", "6+2"])
@pytest.mark.parametrize("fusion", ["joint", "late"])
def test_micro_batches_give_the_gradients_of_the_one_batch_they_are_parts_of(scenes, tmp_path, fusion, parts):
    trainer = make_trainer(scenes, tmp_path, fusion=fusion)
    pictures = by_picture(trainer, 4)
    whole, record = gradients(trainer, [joined(pictures)])
    micro = [joined(pictures[sum(parts[:i]) : sum(parts[: i + 1])]) for i in range(len(parts))]
    assert [len(part) for part in micro] == [2 * size for size in parts]
    split, split_record = gradients(trainer, micro)
    assert split.keys() == whole.keys() and len(whole) > 50
    scale = torch.stack([gradient.norm() for gradient in whole.values()]).norm()
    error = torch.stack([(split[name] - whole[name]).norm() for name in whole]).norm()
    assert error / scale < 1e-6
    for name in record:
        assert split_record[name] == pytest.approx(record[name], rel=1e-5, abs=1e-6), name


@pytest.mark.parametrize("model", [{}, {"fusion": "late"}, {"similarity_map": False}], ids=str)
def test_what_is_counted_before_the_forward_pass_is_what_the_terms_run_over(scenes, tmp_path, model):
    trainer = make_trainer(scenes, tmp_path, **model)
    batch = trainer.collator([trainer.train_data.load(index) for index in range(5)])
    terms, iou = loss_terms(trainer.model.train()(batch), batch)
    counts = term_counts(batch)
    assert {name: term.count for name, term in terms.items()} == {name: counts[name] for name in terms}
    assert len(iou) == 5 and not iou.requires_grad and ((iou >= 0) & (iou <= 1)).all()
    assert ("ce" in terms) == (model.get("fusion") != "late") and ("similarity" in terms) == model.get(
        "similarity_map", True
    )
    answered = sum(len(trainer.model.vlm.tokenizer(" It is [SEG].</s>")["input_ids"]) for _ in range(5))
    assert counts["ce"] == (answered if "ce" in terms else 0)
    assert all(term.total.requires_grad and term.total.item() >= 0 for term in terms.values())


def test_the_loss_is_the_weighted_sum_of_the_means(scenes, tmp_path):
    trainer = make_trainer(scenes, tmp_path)
    indices = joined(by_picture(trainer, 2))
    _, record = gradients(trainer, [indices])
    batch = trainer.collator([trainer.train_data.load(index) for index in indices])
    with torch.no_grad():
        terms, iou = loss_terms(trainer.model.train()(batch), batch)
    means = {name: term.total.item() / term.count for name, term in terms.items()}
    for name, mean in means.items():
        assert record[name] == pytest.approx(mean, rel=1e-5)
    weights = {"ce": 0.7, "bce": 2.0, "dice": 0.5, "similarity": 1.5, "contrast": 0.3, "pointing": 0.4, "iou": 1.0}
    assert loss_weights(trainer.config.loss) == weights
    assert record["loss"] == pytest.approx(sum(weights[name] * mean for name, mean in means.items()), rel=1e-5)
    assert record["giou"] == pytest.approx(iou.mean().item(), rel=1e-5) and record["masks"] == len(indices)


def test_a_term_of_weight_zero_moves_nothing(scenes, tmp_path):
    trainer = make_trainer(
        scenes, tmp_path, dict.fromkeys(["ce_weight", "bce_weight", "dice_weight", "iou_weight"], 0.0)
    )
    found, _ = gradients(trainer, [joined(by_picture(trainer, 2))])
    # The similarity terms alone are left: they do not reach the decoder, whose mask prompt is detached.
    assert any(gradient.any() for name, gradient in found.items() if name.startswith("similarity."))
    assert not any(gradient.any() for name, gradient in found.items() if name.startswith("decoder."))


def test_ignored_pixels_take_no_part(scenes, tmp_path):
    trainer = make_trainer(scenes, tmp_path)
    examples = [trainer.train_data.load(index) for index in range(2)]
    losses = []
    for value in (0, 1):
        for example in examples:
            example.mask[:] = 255
            example.mask[:20, :20] = 1
        batch = trainer.collator(examples)
        batch["targets"][batch["valid"] == 0] = value
        with torch.no_grad():
            terms, _ = loss_terms(trainer.model.eval()(batch), batch)
        losses.append({name: term.total.item() for name, term in terms.items()})
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def with_kinds(trainer: Trainer, index: int) -> tuple[Example, Example, Example]:
    """A sample as it is, with an answer in words alone, and with an answer of two masks."""
    one = trainer.train_data.load(index)
    wordy = replace(one, sample=replace(one.sample, answer="a red ring", kind="text"))
    halves = [one.mask.copy(), one.mask.copy()]
    middle = int(np.median(np.nonzero(one.mask == 1)[1]))
    halves[0][:, :middle], halves[1][:, middle:] = 0, 0
    words = "one {seg} and two {seg}"
    return one, wordy, replace(one, sample=replace(one.sample, answer=words, kind="masks"), masks=halves)


def test_an_answer_in_words_alone_is_in_the_cross_entropy_only(scenes, tmp_path):
    trainer = make_trainer(scenes, tmp_path)
    one, wordy, _ = with_kinds(trainer, 0)
    model = trainer.model.train()
    terms: dict[str, dict[str, LossTerm]] = {}
    for name, examples in {"mask": [one], "text": [wordy], "both": [one, wordy]}.items():
        batch = trainer.collator(examples)
        terms[name], iou = loss_terms(model(batch), batch)
        counts = term_counts(batch)
        assert {term: found.count for term, found in terms[name].items()} == {
            term: counts[term] for term in terms[name]
        }
        assert len(iou) == (0 if name == "text" else 1)
    for term, found in terms["both"].items():
        expected = terms["mask"][term].total + terms["text"][term].total
        torch.testing.assert_close(found.total, expected, rtol=1e-4, atol=1e-5)
    assert terms["text"]["ce"].total > 0
    assert all(found.total == 0 and found.count == 0 for term, found in terms["text"].items() if term != "ce")


def test_a_batch_in_words_alone_gives_every_weight_a_gradient_and_what_draws_one_of_zero(scenes, tmp_path):
    """Or else processes would wait for one another: some of them exchange gradients that others have not."""
    trainer = make_trainer(scenes, tmp_path)
    one, wordy, _ = with_kinds(trainer, 0)
    found = []
    for example in (one, wordy):
        batch = trainer.collator([example])
        model = trainer.model.train()
        model.zero_grad(set_to_none=True)
        terms, _ = loss_terms(model(batch), batch)
        sum(term.total for term in terms.values()).backward()
        found.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert found[0].keys() == found[1].keys()
    drawing = [name for name in found[1] if name.startswith(("decoder.", "text_sam.", "similarity.", "image_sam."))]
    assert drawing and all(not found[1][name].any() for name in drawing)
    assert any(gradient.any() for name, gradient in found[1].items() if name.startswith("vlm."))


def test_each_mask_of_an_answer_is_compared_with_its_own_target(scenes, tmp_path):
    trainer = make_trainer(scenes, tmp_path)
    one, wordy, several = with_kinds(trainer, 0)
    batch = trainer.collator([wordy, several, one])
    output = trainer.model.eval()(batch)
    assert output.rows.tolist() == [1, 1, 2]
    output.mask_logits = 20 * F.interpolate(batch["targets"][:, None], size=output.mask_logits.shape[-2:])[:, 0] - 10
    assert (loss_terms(output, batch)[1] > 0.6).all()
    batch["targets"][:2] = batch["targets"][:2].flip(0)
    assert (loss_terms(output, batch)[1][:2] < 0.2).all()


def test_masks_without_a_target_of_their_row_are_a_mistake(scenes, tmp_path):
    trainer = make_trainer(scenes, tmp_path)
    _, _, several = with_kinds(trainer, 0)
    batch = trainer.collator([several])
    output = trainer.model.eval()(batch)
    for name in ("targets", "valid", "seg_row"):
        batch[name] = batch[name][:1]
    with pytest.raises(ValueError, match=r"rows \[0, 0\] have targets of the rows \[0\]"):
        loss_terms(output, batch)


def test_the_parts_of_a_step_are_told_by_dataset_and_add_up(scenes, tmp_path):
    trainer = make_trainer(scenes, tmp_path)
    examples = []
    for index, name in enumerate(["a", "b", "a", "c"]):
        kinds = with_kinds(trainer, index)
        example = kinds[1] if name == "c" else kinds[0]
        examples.append(replace(example, sample=replace(example.sample, dataset=name)))
    engine = Engine(trainer.model, trainer.config, trainer.processes, 1, ["a", "b", "c", "d"])
    engine.optimizer = Recorder(trainer.model.train())
    parts = [trainer.collator(examples[:2]), trainer.collator(examples[2:])]
    step = engine.step([MicroBatch(parts[0]), MicroBatch(parts[1]), MicroBatch(parts[1], counts=False)])
    assert {name: (of["samples"], of["masks"]) for name, of in step.datasets.items()} == {
        "a": (2, 2),
        "b": (1, 1),
        "c": (1, 0),
    }
    masks = step.record["masks"]
    assert sum(of["giou"] * of["masks"] for of in step.datasets.values()) == pytest.approx(step.iou_sum, abs=1e-5)
    # `c` has words alone, so its loss is their cross-entropy.
    batch = trainer.collator(examples[3:])
    terms, _ = loss_terms(trainer.model(batch), batch)
    assert masks == 3 and step.datasets["c"]["loss"] == pytest.approx(
        0.7 * (terms["ce"].total / terms["ce"].count).item(), rel=1e-4
    )
    alone = Engine(trainer.model, trainer.config, trainer.processes, 1, ["b"])
    alone.optimizer = Recorder(trainer.model)
    b = alone.step([MicroBatch(trainer.collator(examples[1:2]))])
    assert b.datasets["b"]["loss"] == pytest.approx(b.record["loss"], rel=1e-4)


def in_turns(trainer: Trainer, turns: int = 2) -> Collator:
    config = trainer.config.model
    return Collator(trainer.model.vlm, config, sam_size(config), turns=turns)


def test_a_conversation_trains_a_mask_and_a_word_of_every_turn(scenes, tmp_path):
    trainer = make_trainer(scenes, tmp_path)
    examples = [trainer.train_data.load(index) for index in joined(by_picture(trainer, 3))]
    declining = next(key for key in map(str, range(99)) if declines(key))
    sample = replace(examples[2].sample, no_target=True)
    examples[2] = replace(examples[2], sample=sample, mask=np.zeros_like(examples[2].mask), wording=declining)
    batch = in_turns(trainer)(examples)
    assert batch["turns"].tolist() == [2, 2, 2] and batch["seg_row"].tolist() == [0, 0, 1, 2, 2]
    model = trainer.model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    weights, losses = loss_weights(trainer.config.loss), []
    for _ in range(8):
        output = model(batch)
        terms, iou = loss_terms(output, batch)
        assert len(iou) == len(output.mask_logits) == sum(not one.sample.no_target for one in examples) == 5
        counts = term_counts(batch)
        assert {name: term.count for name, term in terms.items()} == {name: counts[name] for name in terms}
        # The cross-entropy has each [SEG] once, in the row that draws its mask.
        of_words = terms["ce"].rows[output.token_labels == model.vlm.seg_token_id]
        assert torch.equal(of_words, batch["seg_row"]) and torch.equal(output.rows, batch["seg_row"])
        loss = sum(weights[name] * term.total / term.count for name, term in terms.items())
        losses.append({name: (term.total / term.count).item() for name, term in terms.items()} | {"loss": loss.item()})
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1]["ce"] < 0.9 * losses[0]["ce"] and losses[-1]["loss"] < losses[0]["loss"]


@torch.no_grad()
def test_the_first_turn_of_a_conversation_is_drawn_and_said_as_if_alone(scenes, tmp_path):
    trainer = make_trainer(scenes, tmp_path)
    first, second = (trainer.train_data.load(index) for index in by_picture(trainer, 1)[0])
    model = trainer.model.eval()
    collator = in_turns(trainer)
    both, alone, other = (collator(examples) for examples in ([first, second], [first], [second]))
    drawn, expected, apart = (model(batch) for batch in (both, alone, other))
    torch.testing.assert_close(drawn.mask_logits[:1], expected.mask_logits, rtol=1e-4, atol=1e-4)
    # The second has read the first, so it is not what it is alone.
    assert not torch.allclose(drawn.mask_logits[1:], apart.mask_logits, rtol=1e-4, atol=1e-4)
    learnt = alone["labels"][0] != -100
    width = int(learnt.nonzero()[-1]) + 1
    assert torch.equal(both["labels"][0, :width], alone["labels"][0])


def test_samples_of_a_dataset_are_sentences_however_many_share_a_row(scenes, tmp_path):
    trainer = make_trainer(scenes, tmp_path)
    pictures = by_picture(trainer, 3)
    examples = []
    for name, picture in zip("aba", pictures):
        found = [trainer.train_data.load(index) for index in picture]
        examples += [replace(one, sample=replace(one.sample, dataset=name)) for one in found]
    batch = in_turns(trainer)(examples)
    assert batch["datasets"] == ["a", "b", "a"] and len(batch["sample_ids"]) == 6
    engine = Engine(trainer.model, trainer.config, trainer.processes, 1, ["a", "b"])
    engine.optimizer = Recorder(trainer.model.train())
    step = engine.step([MicroBatch(batch)])
    told = {name: (of["samples"], of["masks"]) for name, of in step.datasets.items()}
    assert told == {"a": (4, 4), "b": (2, 2)} and step.record["masks"] == 6
    assert sum(of["giou"] * of["masks"] for of in step.datasets.values()) == pytest.approx(step.iou_sum, abs=1e-5)
