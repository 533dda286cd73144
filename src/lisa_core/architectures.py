"""The figures of a model, from its config alone: built on the meta device, without weights, memory or network."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from PIL import Image
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from lisa_core.discovery import one_line
from lisa_core.errors import ConfigError
from lisa_core.generic import GenericVLM
from lisa_core.hf import HFVLM
from lisa_core.lora import LoraSettings, count_lora_parameters
from lisa_core.prompts import answer
from lisa_core.vlm import VLM


@dataclass(frozen=True)
class Figures:
    """What a model of some config has."""

    class_name: str
    """The transformers class that is built."""
    parameters: int
    """All parameters, embeddings included, shared ones once."""
    vision_dim: int | None
    """Width of the vision tower's features; None without one."""
    text_dim: int | None
    """Width of the language model's hidden states; None without one."""
    used_parameters: int
    """Those of them that a segmenter uses: of a pair of image and text encoder, the image encoder alone."""
    lora_layers: tuple[str, ...] = ()
    """The layers that LoRA adapts by default; empty for what has no language model."""
    lora_parameters: int | None = None
    """How many parameters the adapters have; None for what has no language model."""


def figures(config: dict[str, Any], name: str, adapter: type[VLM] | None = None, lora_r: int = 16) -> Figures:
    """The figures of the architecture that a `config.json` describes.

    Args:
        config: content of the file; `model_type` names a type that transformers knows.
        name: whose config it is, for messages.
        adapter: the family's class, which knows widths and LoRA layers; by default what holds for most models.
        lora_r: rank of the adapters.

    Raises:
        ConfigError: if transformers cannot build it, or it is no part of a segmenter.
    """
    kind = config["model_type"]
    if kind not in CONFIG_MAPPING_NAMES:
        raise ConfigError(f"{name} is a {kind} checkpoint, which this version of transformers does not know")
    loader: Any = AutoModel
    if kind in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        loader = AutoModelForImageTextToText
    elif kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        loader = AutoModelForCausalLM
    try:
        described = AutoConfig.for_model(kind, **{key: value for key, value in config.items() if key != "model_type"})
        with torch.device("meta"):
            model = loader.from_config(described)
    except Exception as error:  # a config that makes no sense fails in as many ways as there are architectures
        raise ConfigError(f"the config of {name} cannot be built: {one_line(error)[:240]}") from error
    parameters = model.num_parameters()
    if kind == "sam":
        # Its random positions are a buffer, but part of the published weights and of the count.
        return Figures(type(model).__name__, parameters, described.mask_decoder_config.hidden_size, None, parameters)
    if loader is AutoModel:
        tower = getattr(described, "vision_config", described)
        if not all(hasattr(tower, value) for value in ("hidden_size", "image_size", "patch_size")):
            raise ConfigError(f"{name} is a {kind} checkpoint: neither an image encoder nor a language model")
        used = sum(parameter.numel() for parameter in getattr(model, "vision_model", model).parameters())
        return Figures(type(model).__name__, parameters, tower.hidden_size, None, used)
    reader = adapter if adapter is not None and issubclass(adapter, HFVLM) else GenericVLM
    vision = text = None
    if loader is AutoModelForImageTextToText:
        dims = reader.dims_of(described)
        vision, text = dims.vision, dims.text
    else:
        text = described.get_text_config().hidden_size
    layers = reader.lora_layers(model)
    trained = count_lora_parameters(model, layers, LoraSettings(r=lora_r)) if layers else 0
    return Figures(type(model).__name__, parameters, vision, text, parameters, tuple(layers), trained)


def grouped_layers(names: tuple[str, ...]) -> list[str]:
    """Layer names with their numbers taken out: `language_model.layers.*.self_attn.q_proj (32)`."""
    patterns = sorted(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name in names)
    return [f"{pattern} ({len(list(group))})" for pattern, group in groupby(patterns)]


def prompt_of(adapter: type[VLM]) -> str:
    """A row as the family's tiny model reads it, with QUESTION where the question goes; image tokens are counted.

    Raises:
        ConfigError: if the family has no tiny model.
    """
    vlm = adapter.tiny()
    batch = vlm.preprocess([Image.new("RGB", (96, 96))], ["QUESTION"], [answer()])
    ids = batch["input_ids"][0][batch["attention_mask"][0].bool()].tolist()
    pieces = []
    special = {token.content for token in vlm.tokenizer.added_tokens_decoder.values()}
    for number, run in groupby(ids):
        token, length = vlm.tokenizer.convert_ids_to_tokens(number), len(list(run))
        if token in special:
            pieces.append(token if length == 1 else f"{token} x {length}")
        else:
            pieces.append([number] * length)
    # Words are decoded in one go: where blanks stand is not told by single tokens.
    text = ""
    for is_special, group in groupby(pieces, key=lambda piece: isinstance(piece, str)):
        parts = list(group)
        text += "".join(parts) if is_special else vlm.tokenizer.decode([i for part in parts for i in part])
    return text
