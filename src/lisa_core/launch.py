"""Start a run on several processes of this machine; across machines, torchrun or accelerate do."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO

from lisa_core.config import TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.processes import EXPECTED, launched_for_deepspeed

_TOLD = (2, 130, 143)
"""Exit codes of an end that all processes come to together, and the main one tells of."""
_PATIENCE = 15.0
"""Seconds that the others get to end by themselves once one process has failed."""


def must_launch(config: TrainConfig) -> bool:
    """Whether this process is to start the run's processes, rather than to be one of them."""
    return config.run.num_processes is not None and config.run.num_processes > 1 and "LOCAL_RANK" not in os.environ


def launch(config: TrainConfig, args: Sequence[str]) -> int:
    """Run `lisa train ARGS` on `config.run.num_processes` processes; returns the exit code of the run.

    They find each other through the variables that torchrun sets too. The main one has this terminal; what another one
    says is shown if it was the one that failed.

    Raises:
        ConfigError: if there are fewer GPUs than processes.
    """
    import torch

    count = config.run.num_processes
    assert count is not None
    gpus = torch.cuda.device_count() if config.run.device != "cpu" else 0
    if 0 < gpus < count:
        raise ConfigError(f"--num-processes {count}, but this machine has {gpus} GPUs: give {gpus}, or --device cpu")
    shared = {
        **os.environ,
        EXPECTED: str(count),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
    }
    if gpus == 0:
        if config.run.parallel != "deepspeed" and not launched_for_deepspeed():
            shared["ACCELERATE_USE_CPU"] = "true"
        shared.setdefault("OMP_NUM_THREADS", str(max((os.cpu_count() or 1) // count, 1)))
    command = [sys.executable, "-m", "lisa_core.train", *args]
    processes: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryFile() as other:
        # Ctrl-C reaches them by itself, SIGTERM only this process.
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
        signal.signal(signal.SIGINT, lambda *_: None)
        signal.signal(signal.SIGTERM, lambda *_: _terminate(processes))
        try:
            for rank in range(count):
                environment = {**shared, "RANK": str(rank), "LOCAL_RANK": str(rank)}
                hidden = other if rank else None
                processes.append(subprocess.Popen(command, env=environment, stdout=hidden, stderr=hidden))
            return _wait(processes, other)
        finally:
            for process in processes:
                process.kill()
            for number, handler in before.items():
                signal.signal(number, handler)


def _wait(processes: list[subprocess.Popen[bytes]], other: IO[bytes]) -> int:
    """The first failure among the processes, or 0; the others are not left waiting for one that is gone."""
    while all(process.poll() in (None, 0) for process in processes):
        if all(process.poll() == 0 for process in processes):
            return 0
        time.sleep(0.1)
    failed = next(rank for rank, process in enumerate(processes) if process.poll() not in (None, 0))
    deadline = time.monotonic() + _PATIENCE
    while any(process.poll() is None for process in processes) and time.monotonic() < deadline:
        time.sleep(0.1)
    codes = [process.poll() for process in processes]
    killed = next((rank for rank, code in enumerate(codes) if code is not None and code < 0), None)
    if any(code not in (None, 0, codes[0]) or (code and codes[0] not in _TOLD) for code in codes[1:]):
        # The main process, which has the terminal, knows of no more than that another one is gone.
        other.seek(0)
        sys.stderr.write(other.read().decode(errors="replace"))
    if killed is not None:
        name = signal.Signals(-codes[killed]).name  # type: ignore[operator]
        sys.stderr.write(f"lisa: error: process {killed} of {len(processes)} was ended by {name}\n")
        return 128 - codes[killed]  # type: ignore[operator]
    return codes[0] or codes[failed] or 1


def _terminate(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
