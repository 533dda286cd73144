"""Muon's steps are orthogonal, AdamW's what they are without it, and both go on from where they stopped."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lisa_core import muon
from lisa_core.build import build_model
from lisa_core.config import DataConfig, OptimConfig, RunConfig, TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.model_config import ModelConfig
from lisa_core.muon import MuonAdamW, orthogonal
from lisa_core.optim import build_optimizer
from lisa_core.trainer import Trainer


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.floats(-3, 6), st.integers(0, 1000))
def test_it_is_about_the_nearest_orthogonal_matrix(rows: int, columns: int, power: float, seed: int) -> None:
    matrix = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    u, values, vh = torch.linalg.svd(matrix, full_matrices=False)
    found = orthogonal(matrix * 10**power)
    assert found.shape == matrix.shape
    # In the basis of the matrix it is diagonal, whatever its size; directions of any weight are about 1.
    diagonal = u.mT @ found @ vh.mT
    kept = values > 0.003 * values.norm()
    assert torch.allclose(diagonal, torch.diag(diagonal.diagonal()), atol=1e-6)
    assert (diagonal.diagonal()[kept] > 0.8).all() and (diagonal.diagonal() < 1.21).all()


def test_of_nothing_it_is_nothing() -> None:
    assert torch.equal(orthogonal(torch.zeros(3, 5)), torch.zeros(3, 5))


def groups(matrix: nn.Parameter, vector: nn.Parameter) -> list[dict]:
    return [
        {"params": [matrix], "lr": 0.01, "weight_decay": 0.5, "orthogonal": True},
        {"params": [vector], "lr": 0.1, "weight_decay": 0.0, "orthogonal": False},
    ]


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 3, 2, 2)])
def test_a_step_has_its_rate_s_size_and_vectors_follow_adamw(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    matrix, vector = nn.Parameter(torch.randn(shape, generator=generator)), nn.Parameter(torch.ones(3))
    alone = nn.Parameter(torch.ones(3))
    optimizer = MuonAdamW(groups(matrix, vector), lr=1.0, betas=(0.9, 0.95))
    adamw = torch.optim.AdamW([alone], lr=0.1, betas=(0.9, 0.95), weight_decay=0.0)
    for _ in range(3):
        before = matrix.detach().clone()
        matrix.grad = torch.randn(shape, generator=generator)
        vector.grad = torch.randn(3, generator=generator)
        alone.grad = vector.grad.clone()
        kept = matrix.grad
        optimizer.step()
        adamw.step()
        assert matrix.grad is kept
        step = (before * (1 - 0.01 * 0.5) - matrix.detach()).flatten(1) / 0.01
        rows, columns = step.shape
        values = torch.linalg.svdvals(step) / max(1, rows / columns) ** 0.5
        assert (values > 0.3).all() and (values < 1.3).all()
        assert torch.linalg.matrix_rank(step) == min(step.shape)
        torch.testing.assert_close(vector, alone)


def test_earlier_gradients_count() -> None:
    steps = []
    for earlier in (0, 5):
        matrix = nn.Parameter(torch.zeros(3, 3))
        optimizer = MuonAdamW(groups(matrix, nn.Parameter(torch.ones(3))), lr=1.0, betas=(0.9, 0.95))
        for number in range(earlier + 1):
            before = matrix.detach().clone()
            matrix.grad = torch.eye(3) if number == earlier else torch.eye(3).flip(0)
            optimizer.step()
        steps.append(matrix.detach() - before)
    assert not torch.allclose(steps[0], steps[1], atol=2e-3)
    assert steps[1][0, 2] < -2e-3 < steps[0][0, 2], "it still goes where it went before"


@given(st.integers(1, 12), st.integers(1, 4), st.integers(0, 100))
def test_by_squares_it_is_the_same_in_single_precision(rows: int, rank: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    left, right = (torch.randn(shape, generator=generator) for shape in ((rows, rank), (rank, 5 * rows)))
    by_squares, by_rows = (way(left @ right / (left @ right).norm()) for way in (muon._by_square, muon._by_rows))
    assert torch.allclose(by_squares, by_rows, atol=5e-3)


SHARED = """
import torch
from torch import nn
from lisa_core import muon
from lisa_core.processes import Processes

made = []
plain = muon.orthogonal
muon.orthogonal = lambda matrix: made.append(matrix) or plain(matrix)
processes = Processes("cpu")
assert processes.world_size == 2


def trained(processes):
    generator = torch.Generator().manual_seed(0)
    shapes = ((6, 4), (3, 8), (5, 3, 2, 2), (2, 2))
    matrices = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    vector = nn.Parameter(torch.ones(3))
    groups = [
        {"params": matrices, "lr": 0.01, "weight_decay": 0.5, "orthogonal": True},
        {"params": [vector], "lr": 0.1, "weight_decay": 0.0, "orthogonal": False},
    ]
    optimizer = muon.MuonAdamW(groups, 1.0, (0.9, 0.95), processes)
    for _ in range(3):
        for parameter in (*matrices[:-1], vector):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimizer.step()
    return [*matrices, vector], optimizer.state_dict()["state"]


together, kept = trained(processes)
assert len(made) in (3, 6) and processes.sum([len(made)]) == [9], len(made)
alone, kept_alone = trained(None)
for one, other in zip(together, alone):
    torch.testing.assert_close(one, other)
assert kept.keys() == kept_alone.keys()
assert all(torch.equal(kept[number]["momentum"], kept_alone[number]["momentum"]) for number in range(3))
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_share_the_work_and_come_to_the_same(run_on_two_processes: Callable[[str], None]) -> None:
    run_on_two_processes(SHARED)


def test_a_closure_is_refused() -> None:
    optimizer = MuonAdamW(groups(nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3))), 1.0, (0.9, 0.95))
    with pytest.raises(ValueError, match="closure"):
        optimizer.step(lambda: 1.0)


def test_a_scaler_leaves_a_broken_step_out() -> None:
    matrix, vector = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3))
    optimizer = MuonAdamW(groups(matrix, vector), lr=1.0, betas=(0.9, 0.95))
    scaler = torch.amp.GradScaler("cpu")
    for gradient, moves in ((float("inf"), False), (1.0, True)):
        scaler.scale(gradient * matrix.sum() + vector.sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        assert torch.equal(matrix, torch.ones(3, 3)) is not moves and torch.equal(vector, torch.ones(3)) is not moves


def test_a_parameter_without_gradient_stays() -> None:
    matrix, vector = nn.Parameter(torch.ones(3, 3)), nn.Parameter(torch.ones(3))
    optimizer = MuonAdamW(groups(matrix, vector), lr=1.0, betas=(0.9, 0.95))
    vector.grad = torch.ones(3)
    optimizer.step()
    assert torch.equal(matrix, torch.ones(3, 3)) and not torch.equal(vector, torch.ones(3))
    assert matrix.grad is None


def test_it_is_for_the_matrices_of_what_draws() -> None:
    model = build_model(ModelConfig(vlm="clip-llm", vlm_model_name="tiny", fine_features=True))
    optimizer = build_optimizer(model, 1e-3, 0.1, drawing=model.drawing_parts, muon_rate=0.02)
    assert isinstance(optimizer, MuonAdamW)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [names[id(p)] for group in optimizer.param_groups if group["orthogonal"] for p in group["params"]]
    rates = {(group["draws"], group["orthogonal"]): group["lr"] for group in optimizer.param_groups}
    assert rates == {(False, False): 1e-3, (True, True): 0.02, (True, False): 1e-3}
    assert {name.split(".")[0] for name in found} == {"decoder", "image_sam", "fine"}
    assert all(dict(model.named_parameters())[name].ndim >= 2 for name in found)
    tables = ("iou_token.weight", "mask_tokens.weight", "no_mask_embed.weight")
    assert not [name for name in found if name.endswith(tables)] and [
        name for name in names.values() if "iou_tok" in name
    ]
    plain = build_optimizer(model, 1e-3, 0.1, drawing=model.drawing_parts)
    assert type(plain) is torch.optim.AdamW


def config_of(scenes: Path, folder: Path, epochs: int = 2) -> TrainConfig:
    return TrainConfig(
        model=ModelConfig(vlm="clip-llm", vlm_model_name="tiny"),
        data=DataConfig(data=str(scenes), batch_size=4, max_train_samples=12, max_val_samples=4, num_workers=0),
        optim=OptimConfig(num_epochs=epochs, decoder_optimizer="muon", lr_schedule="constant_with_warmup"),
        run=RunConfig(output_dir=str(folder), device="cpu", sample_masks=0),
    )


def losses(folder: Path) -> list[float]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [record["loss"] for record in records if record["kind"] == "step"]


def test_a_run_goes_on_with_the_momentum_it_had(scenes: Path, tmp_path: Path) -> None:
    Trainer(config_of(scenes, tmp_path / "whole")).run()
    config = config_of(scenes, tmp_path / "parted")
    trainer = Trainer(config)
    trainer._validate = lambda: 1 / 0  # type: ignore[assignment,method-assign]
    with pytest.raises(ZeroDivisionError):  # the first epoch is saved
        trainer.run()
    assert len(losses(tmp_path / "parted")) == 3
    resumed = dataclasses.replace(config, run=dataclasses.replace(config.run, resume=str(tmp_path / "parted")))
    Trainer(resumed).run()
    assert losses(tmp_path / "parted") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)


def test_bitsandbytes_optimizers_do_not_go_with_it(scenes: Path, tmp_path: Path) -> None:
    config = config_of(scenes, tmp_path)
    optim = dataclasses.replace(config.optim, optimizer="adamw_8bit")
    with pytest.raises(ConfigError, match="goes beside --optimizer adamw, not adamw_8bit"):
        dataclasses.replace(config, optim=optim).validate()


def test_shared_out_weights_are_refused(scenes: Path, tmp_path: Path) -> None:
    config = config_of(scenes, tmp_path / "run")
    sharded = dataclasses.replace(config, run=dataclasses.replace(config.run, parallel="fsdp"))
    with pytest.raises(ConfigError, match="needs whole matrices"):
        Trainer(sharded)
    assert not (tmp_path / "run").exists()
