"""The optimizer over what trains, and its schedule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from lisa_core.config import OptimConfig, TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.model import LisaModel
from lisa_core.muon import MuonAdamW
from lisa_core.processes import Processes

_BETAS = (0.9, 0.95)
# Learned tables that are bare parameters, not `nn.Embedding`s: our queries, and the positions of SAM's encoder.
_TABLES = (".queries", ".pos_embed", ".rel_pos_h", ".rel_pos_w")


def build_optimizer(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    kind: str = "adamw",
    device: torch.device | None = None,
    drawing: Iterable[nn.Module] = (),
    drawing_rate: float | None = None,
    muon_rate: float | None = None,
    processes: Processes | None = None,
) -> torch.optim.Optimizer:
    """AdamW, or Muon beside it, over the `parameter_groups` of a model.

    Args:
        model: says by `requires_grad` what trains.
        learning_rate: the peak one.
        weight_decay: of the matrices.
        kind: `OptimConfig.optimizer`.
        device: where the run computes.
        drawing, drawing_rate, muon_rate: as of `parameter_groups`.
        processes: who train copies of the model together, if they are several.

    Raises:
        ConfigError: if bitsandbytes, or the device that its optimizers need, is not there.
    """
    groups = parameter_groups(model, learning_rate, weight_decay, drawing, drawing_rate, muon_rate)
    if any(group["orthogonal"] for group in groups):
        return MuonAdamW(groups, learning_rate, _BETAS, processes)
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=learning_rate, betas=_BETAS, fused=True)
    check_optimizer(kind, device)
    import bitsandbytes

    made = {"adamw_8bit": "AdamW8bit", "paged_adamw": "PagedAdamW32bit", "paged_adamw_8bit": "PagedAdamW8bit"}
    return getattr(bitsandbytes.optim, made[kind])(groups, lr=learning_rate, betas=_BETAS)


def parameter_groups(
    model: nn.Module,
    learning_rate: float,
    weight_decay: float,
    drawing: Iterable[nn.Module] = (),
    drawing_rate: float | None = None,
    muon_rate: float | None = None,
) -> list[dict[str, Any]]:
    """What trains, in groups; weight decay on matrices only, not on norms, biases, embeddings and learned queries.

    Args:
        model: says by `requires_grad` what trains.
        learning_rate: the peak one.
        weight_decay: of the matrices.
        drawing: parts of the model in groups of their own, whose `draws` is True.
        drawing_rate: the peak learning rate of these; default: as all.
        muon_rate: the peak learning rate of their matrices, if these are to follow Muon: their group is `orthogonal`.
    """
    draws = {id(parameter) for part in drawing for parameter in part.parameters()}
    undecayed = {id(p) for module in model.modules() if isinstance(module, nn.Embedding) for p in module.parameters()}
    rates = {False: learning_rate, True: learning_rate if drawing_rate is None else drawing_rate}
    by_kind: dict[tuple[bool, bool], dict[str, Any]] = {
        (of_drawing, is_matrix): {
            **{"params": [], "lr": rates[of_drawing], "draws": of_drawing, "orthogonal": False},
            "weight_decay": weight_decay if is_matrix else 0.0,
        }
        for of_drawing in (False, True)
        for is_matrix in (True, False)
    }
    if muon_rate is not None:
        by_kind[True, True].update(lr=muon_rate, orthogonal=True)
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            is_matrix = parameter.ndim >= 2 and id(parameter) not in undecayed and not name.endswith(_TABLES)
            by_kind[id(parameter) in draws, is_matrix]["params"].append(parameter)
    return [group for group in by_kind.values() if group["params"]]


def drawing_options(model: LisaModel, config: TrainConfig) -> dict[str, Any]:
    """What a run's settings say of the groups of what draws, as arguments of `parameter_groups`."""
    optim = config.optim
    apart = optim.map_epochs or optim.decoder_learning_rate is not None or optim.decoder_optimizer != "adamw"
    return {
        "drawing": model.drawing_parts if apart else (),
        "drawing_rate": optim.decoder_learning_rate,
        "muon_rate": optim.muon_learning_rate if optim.decoder_optimizer == "muon" else None,
    }


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
    optimizer: torch.optim.Optimizer, config: TrainConfig, total_steps: int, map_steps: int = 0
) -> torch.optim.lr_scheduler.LRScheduler:
    """Linear warm-up, then the configured decay, counted in optimizer steps.

    Args:
        optimizer: of `build_optimizer`.
        config: all settings.
        total_steps: of the whole run.
        map_steps: the first so many, in which what draws does not train: its course begins after them.
    """
    starts = [map_steps if group.get("draws") else 0 for group in optimizer.param_groups]
    return LambdaLR(optimizer, [_course(config.optim, start, total_steps) for start in starts])


def _course(optim: OptimConfig, start: int, stop: int) -> Callable[[int], float]:
    """The share of its peak that a rate has at each step of a run, for what trains from one step to another."""
    warmup = round(optim.warmup_ratio * (stop - start))

    def share(step: int) -> float:
        done = step - start
        if done < 0:
            return 0.0
        if done < warmup:
            return done / warmup
        progress = (done - warmup) / max(1, stop - start - warmup)
        if optim.lr_schedule == "cosine":
            return 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        return max(0.0, 1 - progress) if optim.lr_schedule == "linear" else 1.0

    return share
