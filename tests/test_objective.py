from __future__ import annotations

from itertools import chain
from pathlib import Path

import pytest
import torch

from lisa_core.config import DataConfig, LossConfig, ModelConfig, OptimConfig, RunConfig, TrainConfig
from lisa_core.data import group_by_image
from lisa_core.engine import Engine, MicroBatch
from lisa_core.objective import loss_terms, loss_weights, term_counts
from lisa_core.trainer import Trainer

WEIGHTS = {"ce_weight": 0.7, "bce_weight": 2.0, "dice_weight": 0.5, "similarity_weight": 1.5, "contrast_weight": 0.3}


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
    weights = {"ce": 0.7, "bce": 2.0, "dice": 0.5, "similarity": 1.5, "contrast": 0.3, "iou": 1.0}
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
