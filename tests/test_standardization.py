"""States that share most of what they are, told apart."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from lisa_core.build import build_model, resolve_sources
from lisa_core.checkpoint import load_checkpoint, save_checkpoint
from lisa_core.model_config import ModelConfig
from lisa_core.standardization import Standardization

WIDTH = 24


def alike(count: int, seed: int = 0) -> torch.Tensor:
    """States [count,5,WIDTH] that are nearly the same vector, one channel of it much larger than the others."""
    numbers = torch.Generator().manual_seed(seed)
    shared = torch.randn(WIDTH, generator=torch.Generator().manual_seed(1))
    shared[3] = 30.0
    return shared + 0.1 * torch.randn(count, 5, WIDTH, generator=numbers)


def everywhere(states: torch.Tensor) -> torch.Tensor:
    return torch.ones(states.shape[:2], dtype=torch.bool)


def nearness(states: torch.Tensor) -> float:
    """Mean cosine of pairs of rows, each the mean of its states."""
    rows = F.normalize(states.mean(1), dim=-1)
    return float((rows @ rows.T)[~torch.eye(len(rows), dtype=torch.bool)].mean())


def test_what_states_share_goes_and_what_differs_counts() -> None:
    states = alike(64)
    found = Standardization(WIDTH).train()(states, everywhere(states))
    assert nearness(states) > 0.99 and abs(nearness(found)) < 0.1
    torch.testing.assert_close(found.mean((0, 1)), torch.zeros(WIDTH), atol=1e-3, rtol=0)
    normed = F.layer_norm(states, (WIDTH,))
    deviation = normed.flatten(0, 1).std(0, correction=0)
    torch.testing.assert_close(
        found.flatten(0, 1).std(0, correction=0), deviation / (deviation + 0.01), atol=1e-2, rtol=0
    )


def test_statistics_are_of_all_batches_and_only_of_training() -> None:
    layer = Standardization(WIDTH).train()
    batches = [alike(8, seed) + 0.02 * seed for seed in range(6)]
    for states in batches:
        layer(states, everywhere(states))
    normed = F.layer_norm(torch.cat(batches), (WIDTH,)).flatten(0, 1)
    torch.testing.assert_close(layer.mean, normed.mean(0), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(layer.variance, normed.var(0, correction=0), atol=1e-6, rtol=1e-4)
    before = {name: value.clone() for name, value in layer.state_dict().items()}
    other = 3 + alike(4, seed=9)
    read = layer.eval()(other, everywhere(other))
    assert all(torch.equal(value, before[name]) for name, value in layer.state_dict().items())
    torch.testing.assert_close(layer(other[:1], everywhere(other[:1])), read[:1])  # whatever is beside it


def test_late_batches_weigh_little_but_never_nothing() -> None:
    layer = Standardization(WIDTH).train()
    layer.batches.fill_(10_000)
    states = alike(8)
    layer(states, everywhere(states))
    expected = 0.005 * F.layer_norm(states, (WIDTH,)).flatten(0, 1).mean(0)
    torch.testing.assert_close(layer.mean, expected)


def test_padding_is_not_heard() -> None:
    states = alike(4)
    mask = everywhere(states)
    mask[:, 3:] = False
    changed = states.clone()
    changed[:, 3:] = torch.randn(4, 2, WIDTH)
    one, other = Standardization(WIDTH).train(), Standardization(WIDTH).train()
    first, second = one(states, mask), other(changed, mask)
    assert torch.equal(first[:, :3], second[:, :3]) and torch.equal(one.mean, other.mean)
    none = Standardization(WIDTH).train()
    assert torch.isfinite(none(states, torch.zeros_like(mask))).all() and none.batches == 0


@pytest.mark.parametrize("fusion", ["late", "joint"])
def test_a_checkpoint_holds_the_statistics(fusion, tmp_path) -> None:
    config = resolve_sources(ModelConfig("clip-llm", "tiny", fusion=fusion, standardize_text=True))
    model = build_model(config)
    layer = model.text_sam.standardization
    assert layer is not None
    states = torch.randn(3, 5, model.vlm.dims.text)
    model.text_sam.train()(states, everywhere(states))
    save_checkpoint(tmp_path / "saved", model, {})
    loaded = load_checkpoint(tmp_path / "saved").text_sam.standardization
    assert loaded is not None and loaded.batches == 1
    torch.testing.assert_close(loaded.mean, layer.mean)
    torch.testing.assert_close(loaded.variance, layer.variance)
