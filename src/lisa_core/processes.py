"""The processes of one run: who this is, and how they agree. Alone, everything is what it is."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from accelerate import Accelerator, DistributedDataParallelKwargs, InitProcessGroupKwargs
from accelerate.tracking import filter_trackers
from accelerate.utils import (
    DeepSpeedPlugin,
    DistributedType,
    KwargsHandler,
    gather_object,
    is_deepspeed_available,
    parse_flag_from_env,
)
from torch import Tensor

from lisa_core.discovery import one_line
from lisa_core.errors import ConfigError

if torch.distributed.is_available():
    # Its functions take the world's group as a default when they are first imported, and transformers imports them:
    # after the group was made, they would keep it, and its threads, to the very end of the process (see `leave_group`).
    import torch.distributed.nn.functional

EXPECTED = "LISA_EXPECTED_PROCESSES"
"""Environment variable in which `lisa train --num-processes` says how many it starts."""

T = TypeVar("T")


class Processes:
    """This process among those of the run, as accelerate or torchrun launched them.

    Args:
        device: `auto`, `cpu` or `cuda`.
        trackers: names of accelerate's trackers to log to.
        deepspeed: use it, even if the launcher was not asked for it.

    Raises:
        ConfigError: if the device is not there, fewer processes were started than asked for, or DeepSpeed is asked
            for and cannot be used.
    """

    def __init__(self, device: str, trackers: Sequence[str] = (), deepspeed: bool = False) -> None:
        self.trackers = list(trackers)
        handlers: list[KwargsHandler] = [DistributedDataParallelKwargs(find_unused_parameters=True)]
        plugin = _deepspeed_plugin(device) if deepspeed or launched_for_deepspeed() else None
        if plugin is not None and not torch.cuda.is_available():
            # Told nothing, accelerate would take each of the processes for the only one.
            handlers.append(InitProcessGroupKwargs(backend="gloo"))
        self.accelerator = Accelerator(
            cpu=device == "cpu" and plugin is None,  # accelerate leaves DeepSpeed out there
            mixed_precision="no",  # LisaModel has its own: the decoder must not compute in half precision
            deepspeed_plugin=plugin,
            kwargs_handlers=handlers,
        )
        if plugin is not None:
            # transformers was told by accelerate to share out weights as it loads them; adapters are not made of such.
            from transformers.integrations import unset_hf_deepspeed_config

            unset_hf_deepspeed_config()
        if device == "cuda" and self.accelerator.device.type != "cuda":
            raise ConfigError("--device cuda, but torch sees no CUDA device here: use --device cpu (or auto)")
        expected = os.environ.get(EXPECTED)
        if expected is not None and int(expected) != self.world_size:
            raise ConfigError(f"--num-processes {expected}, but {self.world_size} started: launch with torchrun")

    @property
    def rank(self) -> int:
        """Number of this process, from 0."""
        return self.accelerator.process_index

    @property
    def world_size(self) -> int:
        """How many processes there are."""
        return self.accelerator.num_processes

    @property
    def is_main(self) -> bool:
        """Whether this is the one that writes and speaks."""
        return self.accelerator.is_main_process

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self.accelerator.device

    def put_logs_into(self, folder: str) -> None:
        """Where trackers may put files."""
        self.accelerator.project_configuration.set_directories(folder)
        self.accelerator.log_with = filter_trackers(self.trackers, self.accelerator.logging_dir)

    def sum(self, values: Sequence[float]) -> list[float]:
        """The sums over all processes, the same on each."""
        if self.world_size == 1:
            return list(values)
        # float32 where the device has no more; the sums are of losses and counts
        kind = torch.float32 if self.device.type == "mps" else torch.float64
        return self.sum_tensor(torch.tensor(list(values), dtype=kind, device=self.device)).tolist()

    def sum_tensor(self, values: Tensor) -> Tensor:
        """The sum of a tensor over all processes, the same on each."""
        summed: Tensor = self.accelerator.reduce(values, reduction="sum")
        return summed

    def gather(self, items: list[T]) -> list[T]:
        """The items of all processes, in their order."""
        return gather_object(items) if self.world_size > 1 else items

    def from_main(self, value: T) -> T:
        """The main process's value, on each."""
        return self.gather([value])[0]

    def wait(self) -> None:
        """Until all have come here."""
        if self.world_size > 1:
            self.accelerator.wait_for_everyone()

    def remarks(self) -> list[str]:
        """What was asked of the launcher and is not so."""
        found = []
        asked = _asked_of_accelerate()
        if asked is not None and asked > self.world_size:
            found.append(
                f"warning: accelerate was asked for {asked} processes and started {self.world_size}: on a CPU, use "
                "`lisa train --num-processes`"
            )
        if os.environ.get("ACCELERATE_USE_FSDP", "").lower() == "true" and not self.wants_fsdp:
            found.append("warning: accelerate was asked for FSDP and gives plain DDP here: use --parallel fsdp")
        return found

    @property
    def deepspeed_config(self) -> dict[str, Any]:
        """What DeepSpeed is told, as the launcher says it; empty without DeepSpeed."""
        plugin = self.accelerator.deepspeed_plugin
        return {} if plugin is None else plugin.deepspeed_config

    @property
    def zero_stage(self) -> int | None:
        """Which of DeepSpeed's ZeRO stages was asked for; None without DeepSpeed."""
        return self.deepspeed_config["zero_optimization"].get("stage", 0) if self.deepspeed_config else None

    @property
    def wants_fsdp(self) -> bool:
        """Whether accelerate was launched for FSDP, and can."""
        return self.accelerator.distributed_type == DistributedType.FSDP


def leave_group() -> None:
    """Take this process out of its group, if it is in one: the last thing that a run does.

    gloo's threads outlive what a process has to do, and one that ends beside them may be aborted: its launcher would
    take the run for a failed one (seen in 8 of 25 runs of two processes that gathered something and ended). They end
    with the last reference to the group, which may be one that nobody can let go of (see `process_end`).
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def launched_for_deepspeed() -> bool:
    """Whether accelerate's launcher, or its variable, asks for DeepSpeed."""
    return parse_flag_from_env("ACCELERATE_USE_DEEPSPEED")


def _deepspeed_plugin(device: str) -> DeepSpeedPlugin:
    """Accelerate's settings for DeepSpeed; ConfigError if there is no DeepSpeed, or it cannot run here."""
    if not is_deepspeed_available():
        raise ConfigError("DeepSpeed is not installed: run `pip install lisa-core[deepspeed]`, or launch without it")
    if "LOCAL_RANK" not in os.environ:
        raise ConfigError("DeepSpeed needs a launcher: --num-processes 2, `accelerate launch`, or torchrun")
    if parse_flag_from_env("ACCELERATE_USE_CPU"):
        raise ConfigError("ACCELERATE_USE_CPU makes accelerate leave DeepSpeed out: unset it")
    if device == "cpu" and torch.cuda.is_available():
        raise ConfigError("--device cpu, but DeepSpeed takes the GPUs it sees: hide them by CUDA_VISIBLE_DEVICES=")
    try:
        return DeepSpeedPlugin(zero3_init_flag=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(f"DeepSpeed's config cannot be used ({one_line(error)[:200]}): correct it") from error


def _asked_of_accelerate() -> int | None:
    """The `--num_processes` of the `accelerate launch` that started this process."""
    import psutil

    try:
        parent = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return None
    start = " ".join(parent[:4])
    if "accelerate" not in start or "launch" not in start:
        return None
    for word, following in zip(parent, [*parent[1:], ""]):
        name, _, value = word.partition("=")
        if name.replace("-", "_") == "__num_processes":
            number = value or following
            return int(number) if number.isdigit() else None
    return None
