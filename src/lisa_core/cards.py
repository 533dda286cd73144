"""What `lisa models NAME` tells: a family, a checkpoint or a local folder, with the figures of its architecture."""

from __future__ import annotations

import dataclasses
from typing import Any

from transformers.models.auto import modeling_auto

from lisa_core.architectures import figures, grouped_layers, prompt_of
from lisa_core.catalogue import SAM_WEIGHTS, family_record, known_checkpoint, look_up, source_record
from lisa_core.errors import ConfigError
from lisa_core.families import family_of_type
from lisa_core.registry import CLIP_LLM, get_registry


def card(name: str, lora_r: int = 16) -> dict[str, Any]:
    """All that is known of something a VLM can be read from, as plain data for JSON.

    Args:
        name: a family, a known checkpoint, a hub name, a local folder, or `IMAGE_ENCODER+TEXT_ENCODER`.
        lora_r: rank of the LoRA adapters to be counted.

    Returns:
        `name`; `family`: a record of the family that reads it, or None; `prompt`: a row as its tiny model reads it, or
        None; `architectures`: the checkpoint's figures, or those of a pair's two halves; `missing`: why a family's
        default checkpoint has none.

    Raises:
        ConfigError, PluginError: if nothing is known by that name.
    """
    family = name if name in get_registry().vlms else None
    architectures: list[dict[str, Any]] = []
    missing = None
    try:
        parts = look_up(name)
        if family is None:
            family = CLIP_LLM.name if len(parts) > 1 else _family(parts[0][0], parts[0][1]["model_type"])
        architectures = [_architecture(*part, family, lora_r) for part in parts]
        if len(parts) > 1 and [part["text_dim"] is None for part in architectures] != [True, False]:
            raise ConfigError(f"{name} is no pair for clip-llm: give IMAGE_ENCODER+TEXT_ENCODER")
    except ConfigError as error:
        if name != family:
            raise
        missing = str(error)  # a family has more to show than its default checkpoint
    return {
        "name": name,
        "family": None if family is None else family_record(get_registry().vlms[family]),
        "prompt": None if family is None else _prompt(family),
        "architectures": architectures,
        "missing": missing,
    }


def _family(name: str, model_type: str) -> str | None:
    """The family that reads a checkpoint; None for what is a part of a segmenter, but no VLM."""
    known = known_checkpoint(name)
    if known is not None:
        return None if known[1] is None else known[1].spec.name
    registry = get_registry()
    is_vlm = (
        registry.families_of(model_type)
        or registry.why_no_family_of(model_type)
        or model_type in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    )
    return family_of_type(model_type, name) if is_vlm else None


def _prompt(family: str) -> str | None:
    try:
        return prompt_of(get_registry().load_vlm_class(family))
    except ConfigError:  # a family without a tiny model, as `generic`
        return None


def _architecture(name: str, config: dict[str, Any], origin: str, family: str | None, lora_r: int) -> dict[str, Any]:
    """The figures of a checkpoint, with what else is known of it."""
    adapter = None if family is None else get_registry().load_vlm_class(family)
    found = figures(config, name, adapter, lora_r)
    known = known_checkpoint(name)
    return {
        "name": name,
        "model_type": config["model_type"],
        **dataclasses.asdict(found),
        "lora_r": lora_r,
        "lora_layers": list(found.lora_layers),
        "lora_targets": grouped_layers(found.lora_layers),
        "config": origin,
        "licence": None if known is None else known[0].licence,
        "gated": None if known is None else known[0].gated,
        "weights": SAM_WEIGHTS if config["model_type"] == "sam" else source_record(name),
    }
