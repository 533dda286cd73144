"""What may lie in a model's folder, wherever it came from: weights and descriptions, nothing that is executed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lisa_core.discovery import one_line
from lisa_core.errors import CheckpointError

DATA_SUFFIXES = (".json", ".safetensors", ".txt", ".model", ".jinja")
"""Ends of the names of files that hold weights, tokenizers and descriptions, and cannot hold a program."""
_FOREIGN_ADAPTERS = ("adapter_config.json", "adapter_model.safetensors")  # transformers would load what these name
_INDEX = ".safetensors.index.json"
OWN = "./"
"""How names in `lisa.json` begin that mean files beside it."""
SOURCES = ("vlm_model_name", "image_encoder_model_name", "text_encoder_model_name", "sam_checkpoint")
"""The settings of a model that name files or hub repositories."""


def is_hub_name(name: str) -> bool:
    """Whether a name that a checkpoint gives its base is one of the hub's, not a path of some machine."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id

    if name.startswith((".", "/", "~")) or "\\" in name or Path(name).exists():
        return False
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def names_outside(model: Mapping[str, Any]) -> Iterator[str]:
    """Names in a `lisa.json`'s `model` that are neither of its own folder nor of the hub: somebody's own paths."""
    for setting in SOURCES:
        value = model.get(setting)
        for name in () if value is None or value.startswith(OWN) else value.split("+"):
            if setting == "sam_checkpoint" or not is_hub_name(name):  # SAM's file is never asked of the hub
                yield name


def vet_hub_config(name: str, config: dict[str, Any]) -> None:
    """Look through the `config.json` of a base on the hub that somebody's model names.

    Raises:
        CheckpointError: if it sends transformers elsewhere.
    """
    for fault in _config_faults(config):
        raise CheckpointError(f"config.json of {name} {fault}: do not trust this model")


def vet(part: Path) -> None:
    """Look through a part of a model that lies beside its description: a folder, or a file of weights.

    Pickles (`pytorch_model.bin`) and programs are refused even where nothing would read them, and so are descriptions
    that send transformers elsewhere for weights or for an attention kernel.

    Raises:
        CheckpointError: naming the first file that must not be there, or cannot be read.
    """
    if not part.is_dir():
        if part.exists() and part.suffix.lower() != ".safetensors":
            raise CheckpointError(f"{part} is not safetensors, and nothing else is read as weights here: do not use it")
        return
    for path in _files(part):
        if path.suffix.lower() not in DATA_SUFFIXES or path.name in _FOREIGN_ADAPTERS:
            raise CheckpointError(
                f"{path} does not belong into a model's folder, which holds safetensors, JSON and text only: remove "
                "it, or do not trust this model"
            )
        if ("config" in path.name and path.suffix.lower() == ".json") or path.name.endswith(_INDEX):
            for fault in _faults(path):
                raise CheckpointError(f"{path} {fault}: do not trust this model")


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder but hidden ones; a link to a folder counts as a file, since it may lead anywhere."""
    for here, folders, files in os.walk(folder):
        linked = [name for name in folders if (Path(here) / name).is_symlink()]
        yield from (Path(here) / name for name in sorted([*files, *linked]) if not name.startswith("."))


def _faults(path: Path) -> Iterator[str]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is damaged ({one_line(error)}): use another checkpoint") from error
    if path.name.endswith(_INDEX):
        named = content.get("weight_map") if isinstance(content, dict) else None
        for shard in sorted({*map(str, named.values())} if isinstance(named, dict) else ()):
            if Path(shard).name != shard or not shard.endswith(".safetensors"):
                yield f"names the weights {shard!r}"
        return
    yield from _config_faults(content)


def _config_faults(content: Any) -> Iterator[str]:
    for key, value in _entries(content):
        if key == "configuration_files":  # for versions of transformers: read in place of this one
            yield f"names the configs {value!r}"
        elif key == "transformers_weights":
            yield f"names the weights {value!r}"
        elif "attn_implementation" in key and any("/" in str(text) for text in _leaves(value)):
            yield f"asks for the kernel {value!r}"


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """Every key of nested plain data, with its value."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield key, value
            yield from _entries(value)
    elif isinstance(content, list):
        for value in content:
            yield from _entries(value)


def _leaves(value: Any) -> Iterator[Any]:
    """The values of nested plain data."""
    if isinstance(value, (dict, list)):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _leaves(inner)
    else:
        yield value
