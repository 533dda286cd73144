"""A model as a folder that needs nothing else: no other folder, no hub name, no absolute path.

lisa.json          what the model is, all names relative to the folder
model.safetensors  connectors and mask decoder (and adapters, if they are kept)
vlm/               the VLM as transformers saves it, with processor and tokenizer (clip-llm: vision/ and language/)
sam.safetensors    SAM's image encoder and mask decoder under their official names, where masks are drawn on them
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from torch import nn

from lisa_core.build import source_names
from lisa_core.checkpoint import VLM_FOLDER, Checkpoint, write_files
from lisa_core.model import LisaModel
from lisa_core.model_config import ModelConfig
from lisa_core.run_facts import model_around, run_facts
from lisa_core.stored_weights import state_to_save
from lisa_core.unload import unload_adapters
from lisa_core.vetting import OWN, SOURCES, is_hub_name
from lisa_core.vlm import VLM

DType = Literal["float32", "bfloat16", "float16"]
"""What a VLM's weights may be stored as."""
Say = Callable[[str], None]
"""Told what is being done, in a few words."""

SAM_FILE = "sam.safetensors"
CARD_FILE = "README.md"
"""Of an exported model, not of a merged one."""


def sources(checkpoint: Checkpoint) -> list[Path]:
    """The files and folders outside of its own that a checkpoint is read with."""
    config = checkpoint.model_config
    names = [*source_names(config), *filter(None, [config.sam_checkpoint])]
    return [path for path in map(Path, names) if path.exists() and checkpoint.folder not in path.parents]


def bases(checkpoint: Checkpoint) -> list[str]:
    """Hub names of what a checkpoint was trained from, as far as they are known."""
    known = checkpoint.meta.get("base")
    if isinstance(known, list):
        return [name for name in known if isinstance(name, str)]
    found: list[str] = []
    for name in source_names(checkpoint.model_config):
        found += [name] if is_hub_name(name) else _bases_of_folder(Path(name))
    return list(dict.fromkeys(found))


def _bases_of_folder(vlm: Path) -> list[str]:
    """What the model was trained from whose `vlm` (or half of it) this is; nothing for any other folder."""
    model = model_around(vlm)
    return [] if model is None else bases(model)


def from_scratch(checkpoint: Checkpoint) -> bool:
    """Whether the VLM was a tiny one, with random weights, before it was trained, as far as that is known."""
    known = checkpoint.meta.get("from_scratch")
    if isinstance(known, bool):
        return known
    if checkpoint.model_config.is_tiny:
        return True
    models = [None if is_hub_name(name) else model_around(Path(name)) for name in source_names(checkpoint.model_config)]
    return all(model is not None and from_scratch(model) for model in models)


def origin(checkpoint: Checkpoint, dtype: DType | None = None, merged_from: str | None = None) -> dict[str, Any]:
    """Entries of `lisa.json` that say where a model comes from, for one made out of a checkpoint.

    Args:
        checkpoint: what it is made from.
        dtype: what its VLM's weights are stored as.
        merged_from: the quantization of the weights beside which adapters that are now merged were trained.

    Returns:
        `progress`, as in the checkpoint; `base`: hub names; `from_scratch`: whether the VLM was a tiny one; `run`: see
        `run_facts`; `merged_from`; `rounded_to`: what the VLM's weights were rounded to after training.
    """
    meta = checkpoint.meta
    return {
        "progress": meta.get("progress"),
        "base": bases(checkpoint),
        "from_scratch": from_scratch(checkpoint),
        "run": run_facts(checkpoint),
        "merged_from": merged_from or meta.get("merged_from"),
        "rounded_to": dtype if dtype not in (None, "float32") else meta.get("rounded_to"),
    }


def write_standalone(
    folder: Path, model: LisaModel, facts: dict[str, Any], dtype: DType | None = None, adapters: bool = False
) -> None:
    """Write a model into a folder; the model is of no more use afterwards.

    Args:
        folder: is there and empty.
        model: on the CPU, `tuning` being that of the model to be written.
        facts: JSON-able; further entries of `lisa.json`.
        dtype: of the VLM's weights; default: as they are.
        adapters: the model has adapters, to be kept as such.
    """
    model.config = _contained(model)
    for name, parameter in model.named_parameters(remove_duplicate=False):
        parameter.requires_grad_(adapters and _is_adapter(name) and parameter.is_floating_point())
    weights = state_to_save(model)  # all but what stands in the files below
    if adapters:
        unload_adapters(model, merge=False)
    name = _write_vlm(folder / VLM_FOLDER, model.vlm, dtype)
    own = name.replace(str(folder), ".").replace("\\", "/")
    model.config = dataclasses.replace(model.config, vlm_model_name=own)
    if model.sam_encoder is not None:
        write_sam(folder / SAM_FILE, [model.sam_encoder, model.decoder])
    write_files(folder, model.config, model.tuning, weights, facts)


def write_sam(path: Path, modules: list[nn.Module]) -> None:
    """Write SAM's parts as `--sam-checkpoint` reads them."""
    state = {name: value.clone().contiguous() for module in modules for name, value in module.state_dict().items()}
    save_file(state, path, metadata={"format": "pt"})


def _contained(model: LisaModel) -> ModelConfig:
    """The model's config without a name that means anything outside of the folder."""
    config = model.config
    changes: dict[str, Any] = dict.fromkeys(SOURCES)
    changes["vlm_model_name"] = OWN + VLM_FOLDER
    changes["sam"] = config.sam_size_name  # `auto` follows the VLM's name
    if model.sam_encoder is not None:
        changes["sam_checkpoint"] = OWN + SAM_FILE
    return dataclasses.replace(config, **changes)


def _is_adapter(name: str) -> bool:
    """Whether peft added a parameter of this name."""
    return "lora_" in name or "trainable_tokens_" in name


def _write_vlm(folder: Path, vlm: VLM, dtype: DType | None) -> str:
    """Write the VLM as transformers does; returns the name it is loaded by."""
    if dtype is not None:
        for name, parameter in vlm.named_parameters(remove_duplicate=False):
            if name.startswith(vlm.pretrained_prefixes) and parameter.is_floating_point():
                parameter.data = parameter.data.to(getattr(torch, dtype))
    return vlm.save_pretrained(folder)
