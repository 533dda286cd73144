"""The optimizer over what trains, and its schedule."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import get_scheduler

from lisa_core.config import TrainConfig
from lisa_core.errors import ConfigError

_BETAS = (0.9, 0.95)
# Learned tables that are bare parameters, not `nn.Embedding`s: our queries, and the positions of SAM's encoder.
_TABLES = (".queries", ".pos_embed", ".rel_pos_h", ".rel_pos_w")


def build_optimizer(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    kind: str = "adamw",
    device: torch.device | None = None,
) -> torch.optim.Optimizer:
    """AdamW over what trains; weight decay on matrices only, not on norms, biases, embeddings and learned queries.

    Args:
        model: says by `requires_grad` what trains.
        learning_rate: the peak one.
        weight_decay: of the matrices.
        kind: `OptimConfig.optimizer`.
        device: where the run computes.

    Raises:
        ConfigError: if bitsandbytes, or the device that its optimizers need, is not there.
    """
    undecayed = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    decay: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2 and id(parameter) not in undecayed and not name.endswith(_TABLES)
            (decay if is_matrix else plain).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": decay, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, betas=_BETAS, fused=True)
    check_optimizer(kind, device)
    import bitsandbytes

    made = {"adamw_8bit": "AdamW8bit", "paged_adamw": "PagedAdamW32bit", "paged_adamw_8bit": "PagedAdamW8bit"}
    return getattr(bitsandbytes.optim, made[kind])(groups, lr=learning_rate, betas=_BETAS)


def check_optimizer(kind: str, device: torch.device | None) -> None:
    """Raise ConfigError for an optimizer whose package, or the device that it needs, is not there."""
    if kind == "adamw":
        return
    if device is None or device.type != "cuda":
        raise ConfigError(f"--optimizer {kind} is bitsandbytes' and runs on CUDA only: use --optimizer adamw here")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError as error:
        raise ConfigError(f"--optimizer {kind} needs bitsandbytes: run `pip install lisa-core[quantize]`") from error


def build_schedule(
    optimizer: torch.optim.Optimizer, config: TrainConfig, total_steps: int
) -> torch.optim.lr_scheduler.LRScheduler:
    """Linear warm-up, then the configured decay, counted in optimizer steps."""
    return get_scheduler(
        config.optim.lr_schedule,
        optimizer,
        num_warmup_steps=round(config.optim.warmup_ratio * total_steps),
        num_training_steps=total_steps,
    )
