"""What DeepSpeed is told: what its launcher or config file say, and what the settings of the run decide."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lisa_core.config import TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.processes import Processes

_BUCKET = 500_000_000
"""Gradients that DeepSpeed exchanges at a time; its own default."""


def check_deepspeed(config: TrainConfig, processes: Processes) -> None:
    """Raise ConfigError for what DeepSpeed was told, or is to be used with, and does not work."""
    if processes.zero_stage is not None:
        for problem in _problems(config, processes.deepspeed_config):
            raise ConfigError(problem)


def _problems(config: TrainConfig, told: dict[str, Any]) -> Iterator[str]:
    zero = told["zero_optimization"]
    stage = zero.get("stage", 0)
    if stage not in (1, 2, 3):
        yield f"DeepSpeed's ZeRO stage is {stage}: use 1, 2 or 3, or launch without DeepSpeed"
    if config.run.parallel in ("ddp", "fsdp"):
        yield f"--parallel {config.run.parallel}, but launched with DeepSpeed: leave one of them out"
    if config.speed.cpu_offload:
        yield "--cpu-offload does not work with DeepSpeed: leave one of them out"
    if config.optim.optimizer != "adamw":
        yield f"--optimizer {config.optim.optimizer} does not work with DeepSpeed, which shares out adamw: use that"
    if config.optim.decoder_optimizer == "muon":
        yield "--decoder-optimizer muon does not work with DeepSpeed, which shares out adamw: leave one of them out"
    if stage == 3 and config.tuning.quantization is not None:
        yield f"DeepSpeed's ZeRO stage 3 cannot share out {config.tuning.quantization} weights: use stage 2"
    if stage == 3 and config.speed.compile:
        yield "--compile does not work with DeepSpeed's ZeRO stage 3: use stage 2, or leave it out"
    for name in ("optimizer", "scheduler"):
        if name in told:
            yield f"DeepSpeed's config names its own {name}: take that out, --learning-rate and the like say it"
    for name in ("fp16", "bf16", "torch_autocast", "amp"):
        if told.get(name, {}).get("enabled") is True:
            yield f"DeepSpeed's config enables {name}: take that out, --vlm-mixed-precision says it"
    for name in ("offload_optimizer", "offload_param"):
        device = (zero.get(name) or {}).get("device", "none")
        if device not in ("none", "cpu"):
            yield f"DeepSpeed's {name} puts on {device} what is to be saved: use the cpu, or leave it out"


def settle(config: TrainConfig, processes: Processes, trained: int) -> None:
    """Write into DeepSpeed's config what the run decides, whatever it said there before.

    Args:
        config: all settings.
        processes: were launched for DeepSpeed.
        trained: how many weights train.
    """
    told = processes.deepspeed_config
    zero = {name: value for name, value in told["zero_optimization"].items() if value != "auto"}
    # The buffer is made in full, and mostly in vain where adapters train.
    zero.setdefault("reduce_bucket_size", min(_BUCKET, trained))
    zero.pop("compute_grad_norm", None)
    told |= {
        "zero_optimization": zero,
        "train_micro_batch_size_per_gpu": config.data.batch_size,
        "train_batch_size": config.data.batch_size * processes.world_size,
        # The engine says itself where a window of micro-batches ends: an epoch's last one may be shorter.
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": True,
        "gradient_clipping": config.optim.max_grad_norm,
    }
    processes.accelerator.gradient_accumulation_steps = 1
