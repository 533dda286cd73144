"""States that share most of what they are, told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional as F

from lisa_core.build import build_model, resolve_sources, sam_size
from lisa_core.checkpoint import load_checkpoint, save_checkpoint
from lisa_core.data import Example, Sample
from lisa_core.data.collate import Collator
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


def test_old_states_are_forgotten_little_by_little() -> None:
    layer = Standardization(WIDTH).train()
    layer.heard.fill_(20_000)
    states = alike(8)
    layer(states, everywhere(states))
    torch.testing.assert_close(layer.mean, 40 / 20_000 * F.layer_norm(states, (WIDTH,)).flatten(0, 1).mean(0))


def test_a_few_states_say_nothing_of_a_deviation() -> None:
    layer, states = Standardization(WIDTH).train(), alike(1)
    torch.testing.assert_close(layer(states, everywhere(states)), F.layer_norm(states, (WIDTH,)) / 1.01)
    assert layer.heard == 5


def test_a_state_that_is_not_finite_spoils_nothing() -> None:
    states = alike(16)
    broken = torch.cat([states, torch.full((1, 5, WIDTH), torch.inf)])
    one, other = Standardization(WIDTH).train(), Standardization(WIDTH).train()
    first, second = one(states, everywhere(states)), other(broken, everywhere(broken))
    torch.testing.assert_close(second[:-1], first)
    assert torch.isfinite(other.mean).all() and torch.isfinite(other.variance).all() and other.heard == 80


def test_padding_is_not_heard() -> None:
    states = alike(16)
    mask = everywhere(states)
    mask[:, 3:] = False
    changed = states.clone()
    changed[:, 3:] = torch.randn(16, 2, WIDTH)
    one, other = Standardization(WIDTH).train(), Standardization(WIDTH).train()
    first, second = one(states, mask), other(changed, mask)
    assert torch.equal(first[:, :3], second[:, :3]) and torch.equal(one.mean, other.mean)
    none = Standardization(WIDTH).train()
    assert torch.isfinite(none(states, torch.zeros_like(mask))).all() and none.heard == 0


@pytest.mark.parametrize("fusion", ["late", "joint"])
def test_a_checkpoint_holds_the_statistics(fusion, tmp_path) -> None:
    config = resolve_sources(ModelConfig("clip-llm", "tiny", fusion=fusion, standardize_text=True))
    model = build_model(config)
    layer = model.standardization
    assert layer is not None
    states = torch.randn(8, 5, model.vlm.dims.text)
    layer.train()(states, everywhere(states))
    save_checkpoint(tmp_path / "saved", model, {})
    loaded = load_checkpoint(tmp_path / "saved").standardization
    assert loaded is not None and loaded.heard == 40
    torch.testing.assert_close(loaded.mean, layer.mean)
    torch.testing.assert_close(loaded.variance, layer.variance)


@pytest.mark.parametrize("fusion", ["late", "joint"])
def test_words_are_heard_whole_before_channels_are_dropped(fusion) -> None:
    config = ModelConfig("clip-llm", "tiny", fusion=fusion, standardize_text=True)
    model = build_model(resolve_sources(config)).train()
    collator = Collator(model.vlm, model.config, sam_size(model.config))
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    image, mask = Image.fromarray(noise), np.zeros((48, 64), np.uint8)
    mask[:20, :20] = 1
    words = ("ring", "star", "heart", "cross")
    texts = [f"the {colour} {word}" for colour in ("red", "blue", "green") for word in words] * 3
    samples = [Sample(str(n), Path(), Path(), text, is_sentence=False) for n, text in enumerate(texts)]
    batch = collator([Example(sample, image, mask) for sample in samples])
    model(batch)
    layer = model.standardization
    assert layer is not None
    whole = {name: value.clone() for name, value in layer.state_dict().items()}
    counted = len(texts) if fusion == "joint" else int(batch["text_attention_mask"].sum())
    assert whole["heard"] == counted
    other = Standardization(model.vlm.dims.text).train()
    model.standardization, model.feature_dropout = other, 0.5
    with torch.random.fork_rng():
        model(batch)
    torch.testing.assert_close(dict(other.state_dict()), whole)


def test_an_answer_in_words_alone_is_not_heard() -> None:
    config = ModelConfig("clip-llm", "tiny", standardize_text=True)
    model = build_model(resolve_sources(config)).train()
    batch = model.vlm.preprocess([Image.new("RGB", (32, 32))], ["What is it?"], ["A ring."])
    model(batch)
    assert model.standardization is not None and model.standardization.heard == 0
