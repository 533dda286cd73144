"""Build a LisaModel from its config: find the family, load it, put SAM's parts and the connectors around it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lisa_core.errors import ConfigError
from lisa_core.families import is_pair, option_values, pair_halves, resolve_family
from lisa_core.model import LisaModel
from lisa_core.model_config import TINY, ModelConfig
from lisa_core.registry import get_registry
from lisa_core.sam import SAM_SIZES, SamImageEncoder, SamMaskDecoder, SamSize, load_sam_weights
from lisa_core.user_path import user_path
from lisa_core.vlm import VLM


def vlm_source(config: ModelConfig) -> str:
    """The name or folder the VLM is loaded from, defaults resolved."""
    if config.image_encoder_model_name and config.text_encoder_model_name and not config.use_vlm:
        return f"{config.image_encoder_model_name}+{config.text_encoder_model_name}"
    return config.vlm_model_name or get_registry().vlm_spec(resolve_family(config).vlm).default_checkpoint


def source_names(config: ModelConfig) -> list[str]:
    """The hub names or folders that the VLM is loaded from: one, or a pair's two; none for a tiny model."""
    if config.is_tiny:
        return []
    name = vlm_source(config)
    return pair_halves(name) if is_pair(name) else [name]


def resolve_sources(config: ModelConfig) -> ModelConfig:
    """The config as a checkpoint keeps it, to load from anywhere: the family and defaults named, local paths absolute.

    Raises:
        ConfigError, PluginError: if the family cannot be told or used, or does not have one of the options.
    """
    config = resolve_family(config)
    changes: dict[str, Any] = {}
    for name in ("vlm_model_name", "image_encoder_model_name", "text_encoder_model_name", "sam_checkpoint"):
        value = getattr(config, name)
        if value is not None and value != TINY:
            parts = pair_halves(value) if name == "vlm_model_name" and is_pair(value) else [value]
            changes[name] = "+".join(_absolute(part) for part in parts)
    if config.vlm_model_name is None and (config.use_vlm or config.image_encoder_model_name is None):
        changes["vlm_model_name"] = vlm_source(config)
    return dataclasses.replace(config, **changes)


def _absolute(name: str) -> str:
    """A local path in full; anything else as it is."""
    path = user_path(name)
    return str(path.resolve()) if name and path.exists() else name


def sam_size(config: ModelConfig) -> SamSize:
    """The shape of SAM's parts, overrides applied."""
    size = SAM_SIZES[config.sam_size_name]
    changes: dict[str, Any] = {"prompt_dim": config.sam_prompt_dim, "decoder_depth": config.sam_decoder_depth}
    return dataclasses.replace(size, **{key: value for key, value in changes.items() if value is not None})


def build_vlm(
    config: ModelConfig,
    vlm_folder: Path | None = None,
    quantization: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> VLM:
    """The VLM of a config, the family's options applied.

    Args:
        config: names the family and where it is loaded from.
        vlm_folder: what `VLM.save_config` wrote, for a model whose weights come from a checkpoint of ours alone.
        quantization: `4bit` or `8bit`, for the language model's weights.
        dtype: of the other weights, and what quantized ones are computed in.

    Raises:
        ConfigError, PluginError: if it cannot be loaded, or not so.
    """
    config = resolve_family(config)
    cls = get_registry().load_vlm_class(config.vlm)
    if not config.is_tiny:
        # Only what differs from the default is said, for adapters written before there was such a choice.
        changes: dict[str, Any] = {} if dtype == torch.float32 else {"dtype": dtype}
        if quantization is not None:
            changes["quantization"] = quantization
        vlm = cls.from_pretrained(vlm_source(config), **changes)
    elif quantization is not None:
        raise ConfigError(
            f"--vlm-model-name tiny is not loaded from anywhere, so not in {quantization}: leave that out"
        )
    else:
        vlm = cls.from_config(vlm_folder) if vlm_folder is not None else cls.tiny()
    if config.img_size is not None:
        vlm.resize_images(config.img_size)
    vlm.configure(**option_values(config.vlm, config.vlm_option))
    return vlm


def build_model(
    config: ModelConfig,
    vlm_folder: Path | None = None,
    quantization: str | None = None,
    dtype: torch.dtype = torch.float32,
) -> LisaModel:
    """The whole model, on the CPU; SAM's weights are read if the config names a checkpoint. See `build_vlm`."""
    config = resolve_family(config)
    vlm = build_vlm(config, vlm_folder, quantization, dtype)
    size = sam_size(config)
    decoder = SamMaskDecoder(size)
    encoder = SamImageEncoder(size) if config.mask_features == "sam" else None
    if config.sam_checkpoint is not None:
        parts: list[nn.Module] = [decoder] if encoder is None else [decoder, encoder]
        load_sam_weights(parts, user_path(config.sam_checkpoint))
    return LisaModel(vlm, decoder, config, encoder)
