"""Start a run on several processes of this machine, through torch's own launcher."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence

from lisa_core.config import TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.processes import EXPECTED


def must_launch(config: TrainConfig) -> bool:
    """Whether this process is to start the run's processes, rather than to be one of them."""
    return config.run.num_processes is not None and config.run.num_processes > 1 and "LOCAL_RANK" not in os.environ


def launch(config: TrainConfig, args: Sequence[str]) -> int:
    """Run `lisa train ARGS` on `config.run.num_processes` processes; returns their exit code.

    Raises:
        ConfigError: if there are fewer GPUs than processes.
    """
    import torch

    count = config.run.num_processes
    assert count is not None
    gpus = torch.cuda.device_count() if config.run.device != "cpu" else 0
    if 0 < gpus < count:
        raise ConfigError(f"--num-processes {count}, but this machine has {gpus} GPUs: give {gpus}, or --device cpu")
    environment = {**os.environ, EXPECTED: str(count)}
    if gpus == 0:
        environment["ACCELERATE_USE_CPU"] = "true"
        environment.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    process = subprocess.Popen([*command, "-m", "lisa_core.train", *args], env=environment)
    before = {number: signal.signal(number, lambda *_: None) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        # Ctrl-C reaches the launcher by itself; SIGTERM is sent to this process alone.
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        return process.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
