"""Everything beside the weights that a run needs to go on as if it had never stopped, without pickles.

Each process writes a file of tensors and a JSON of its own: the main one (of a model that is spread over processes:
each one) the optimizer, every one its random numbers; the main one also where the run stands.
"""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.distributed.tensor import DTensor

from lisa_core.discovery import one_line
from lisa_core.errors import CheckpointError
from lisa_core.stored_weights import storable

STATE_FOLDER = "state"
_FORMAT = 1


def write_state(folder: Path, rank: int, optimizer: torch.optim.Optimizer | None, facts: dict[str, Any]) -> None:
    """Write one process's state into `folder`.

    Args:
        folder: of the checkpoint that is being written.
        rank: of the process.
        optimizer: if this process is to write it.
        facts: JSON-able; where the run stands.
    """
    tensors, plain = _flat(optimizer.state_dict()) if optimizer is not None else ({}, None)
    tensors["random.torch"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    name, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)
    record = {
        "format": _FORMAT,
        "facts": facts,
        "optimizer": plain,
        "random": {
            "python": random.getstate(),
            "numpy": [name, np.asarray(keys).tolist(), int(position), int(has_gauss), float(gauss)],
        },
    }
    target = folder / STATE_FOLDER
    target.mkdir(exist_ok=True)
    save_file(tensors, target / f"rank_{rank}.safetensors")
    (target / f"rank_{rank}.json").write_text(json.dumps(record), encoding="utf-8")


def read_facts(folder: Path, rank: int = 0) -> dict[str, Any]:
    """Where the run stood; raises CheckpointError if the checkpoint cannot be gone on from."""
    return _read(folder, rank)["facts"]


def read_state(folder: Path, rank: int, optimizer: torch.optim.Optimizer, optimizer_rank: int = 0) -> dict[str, Any]:
    """Fill in optimizer and random numbers; returns the facts.

    Args:
        folder: of a checkpoint.
        rank: of the process.
        optimizer: over the same parameters as the one that was written.
        optimizer_rank: the process that wrote it.

    Raises:
        CheckpointError: if any of it is missing or damaged; nothing is changed then but perhaps the optimizer.
    """
    record, owner = _read(folder, rank), _read(folder, optimizer_rank)
    tensors = _tensors(folder, rank)
    try:
        state = _nested(_tensors(folder, optimizer_rank), owner["optimizer"])
        _load_optimizer(optimizer, state)
        version, internal, gauss = record["random"]["python"]
        name, keys, position, has_gauss, cached = record["random"]["numpy"]
        random.setstate((version, tuple(internal), gauss))
        np.random.set_state((name, np.array(keys, dtype=np.uint32), position, has_gauss, cached))
        torch.set_rng_state(tensors["random.torch"])
        if torch.cuda.is_available() and "random.cuda" in tensors:
            torch.cuda.set_rng_state(tensors["random.cuda"])
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError) as error:
        raise _damaged(folder, error) from error
    return record["facts"]


def _read(folder: Path, rank: int) -> dict[str, Any]:
    path = folder / STATE_FOLDER / f"rank_{rank}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["format"] != _FORMAT or not isinstance(record["facts"], dict):
            raise TypeError(f"format {record['format']!r}")
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{folder} holds no training state ({path.name}), so the run cannot go on from it: give another checkpoint "
            "to --resume, or start a new run from its weights with --init-from"
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise _damaged(folder, error) from error
    return record


def _tensors(folder: Path, rank: int) -> dict[str, Tensor]:
    try:
        return load_file(folder / STATE_FOLDER / f"rank_{rank}.safetensors")
    except (OSError, SafetensorError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"the training state of {folder} is damaged ({one_line(error)[:160]}): give --resume an older checkpoint of "
        "the run, or start a new run from a checkpoint's weights with --init-from"
    )


def _flat(state: dict[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """An optimizer's state as tensors by name, and the rest as plain data."""
    tensors: dict[str, Tensor] = {}
    values: dict[str, dict[str, Any]] = {}
    for index, entry in state["state"].items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                local = value.to_local() if isinstance(value, DTensor) else value
                tensors[f"optimizer.{index}.{key}"] = local.detach()
            else:
                values.setdefault(str(index), {})[key] = value
    groups = [{key: value for key, value in group.items() if key != "params"} for group in state["param_groups"]]
    sizes = [len(group["params"]) for group in state["param_groups"]]
    return storable(tensors), {"values": values, "groups": groups, "sizes": sizes}


def _nested(tensors: dict[str, Tensor], plain: dict[str, Any]) -> dict[str, Any]:
    """The optimizer's state out of what `_flat` made of it."""
    state: dict[int, dict[str, Any]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = value
    for index, values in plain["values"].items():
        state.setdefault(int(index), {}).update(values)
    groups, start = [], 0
    for group, size in zip(plain["groups"], plain["sizes"], strict=True):
        # JSON knows lists only
        values = {key: tuple(value) if isinstance(value, list) else value for key, value in group.items()}
        groups.append({**values, "params": list(range(start, start + size))})
        start += size
    return {"state": state, "param_groups": groups}


def _load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, entry in state["state"].items():
        parameter = parameters[index]
        if isinstance(parameter, DTensor):
            for key, value in entry.items():
                if isinstance(value, Tensor) and value.shape == parameter.to_local().shape and value.ndim:
                    entry[key] = DTensor.from_local(
                        value.to(parameter.device),
                        parameter.device_mesh,
                        parameter.placements,
                        shape=parameter.shape,
                        stride=parameter.stride(),
                    )
    optimizer.load_state_dict(state)
