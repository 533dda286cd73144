"""Weights that two processes of this machine's CPU share out, and get back."""

from __future__ import annotations

from collections.abc import Callable

import pytest

SCRIPT = """
import torch
from lisa_core.build import build_model
from lisa_core.stored_weights import state_to_save
from lisa_core.model_config import ModelConfig
from lisa_core.sharding import fill, shard

torch.distributed.init_process_group("gloo")
made = []
for seed in (0, 1):
    torch.manual_seed(seed)
    made.append(build_model(ModelConfig(vlm="clip-llm", vlm_model_name="tiny")))
other = {name: value.clone() for name, value in state_to_save(made[1]).items()}
model = made[0]
shard(model, 2)
share = sum(p.to_local().numel() for p in model.parameters()) / sum(p.numel() for p in model.parameters())
assert 0.4 < share < 0.6, share
before = state_to_save(model)
assert any(not torch.equal(before[name], other[name]) for name in other)
left = sorted(other)[0]
fill(model, {name: value for name, value in other.items() if name != left})
after = state_to_save(model)
assert after.keys() == other.keys()
assert torch.equal(after[left], before[left])
assert all(torch.equal(after[name], other[name]) for name in other if name != left)
torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_a_shared_out_model_takes_whole_weights_and_gives_them_back(
    run_on_two_processes: Callable[[str], None],
) -> None:
    run_on_two_processes(SCRIPT)
