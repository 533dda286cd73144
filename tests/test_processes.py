"""How one of several processes ends: without its group's threads, beside which it may be aborted."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LEAVES = """
import json
from pathlib import Path

import torch

from lisa_core.processes import leave_group

torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
torch.distributed.all_reduce(torch.ones(1))
from transformers.models.llama.modeling_llama import LlamaForCausalLM  # after the group was made, as a run's are


def threads():
    return sorted(file.read_text().strip() for file in Path("/proc/self/task").glob("*/comm"))


before = threads()
leave_group()
print(json.dumps([before, threads()]))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc for the names of threads")
def test_leaving_the_group_ends_its_threads_though_models_were_imported_in_it() -> None:
    done = subprocess.run([sys.executable, "-c", LEAVES], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    before, after = json.loads(done.stdout)
    assert any("gloo" in name for name in before), "what leaving is to end"
    assert not any("gloo" in name for name in after)
