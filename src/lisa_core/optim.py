"""What trains, at which rate: freezing, parameter groups, the schedule."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers import get_scheduler

from lisa_core.config import TrainConfig
from lisa_core.model import LisaModel

# Learned tables that are bare parameters, not `nn.Embedding`s: our queries, and the positions of SAM's encoder.
_TABLES = (".queries", ".pos_embed", ".rel_pos_h", ".rel_pos_w")


def set_trainable(model: LisaModel, config: TrainConfig) -> None:
    """Freeze what the config leaves as it is: the VLM on request, and SAM's encoder once it has real weights."""
    if config.optim.vlm_freeze:
        for name, parameter in model.vlm.named_parameters():
            # What no checkpoint holds, such as clip-llm's projector, would stay random for ever.
            parameter.requires_grad = not name.startswith(model.vlm.pretrained_prefixes)
    if model.sam_encoder is not None and config.model.sam_checkpoint is not None:
        model.sam_encoder.requires_grad_(False)


def trainable_line(model: nn.Module) -> str:
    """How much trains, in the words peft prints it in."""
    total = sum(parameter.numel() for parameter in model.parameters())
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    share = 100 * trained / max(total, 1)
    return f"trainable params: {trained:,} || all params: {total:,} || trainable%: {share:.2f}%"


def build_optimizer(model: nn.Module, learning_rate: float, weight_decay: float) -> torch.optim.AdamW:
    """AdamW over what trains; weight decay on matrices only, not on norms, biases, embeddings and learned queries."""
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
    return torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.95), fused=True)


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
