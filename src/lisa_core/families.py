"""Which family a model config means, and the options of that family, before anything heavy is imported."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Iterable
from typing import Any

from lisa_core.errors import ConfigError, PluginError
from lisa_core.model_config import AUTO, ModelConfig
from lisa_core.registry import CLIP_LLM, GENERIC, get_registry
from lisa_core.sources import read_config
from lisa_core.types import FamilyOption
from lisa_core.user_path import user_path

_WRITE_ONE = "`lisa plugins new NAME` starts an adapter (docs/write-an-adapter.md)"


def resolve_family(config: ModelConfig) -> ModelConfig:
    """The config with `vlm` naming a family that is installed, its options checked.

    Raises:
        ConfigError, PluginError: if the family is not clear or cannot be used, or an option is not one of its own.
    """
    if config.vlm == AUTO:
        config = dataclasses.replace(config, vlm=_family_of(config))
    spec = get_registry().vlm_spec(config.vlm)
    option_values(spec.name, config.vlm_option)
    if spec is GENERIC:
        _check_generic(config)
    return config


def is_pair(name: str) -> bool:
    """Whether a model name is `IMAGE_ENCODER+TEXT_ENCODER`; `+` cannot be part of a hub name."""
    return "+" in name and not user_path(name).exists()


def pair_halves(name: str) -> list[str]:
    """The two names of a pair; a `+` in the path of a folder that is there is part of that path."""
    cuts = [place for place, letter in enumerate(name) if letter == "+"]
    cut = next((place for place in cuts if user_path(name[:place]).exists()), cuts[0])
    return [name[:cut], name[cut + 1 :]]


def family_of_checkpoint(name: str) -> str:
    """The family that reads a hub name or a local folder: the one that lists it, or by the `model_type` of its config.

    Raises:
        ConfigError: if it is ambiguous, or no vision-language model.
        PluginError: if the plugin for it is not installed, or broken.
    """
    if not user_path(name).exists():  # of what is listed, the hub need not be asked
        specs = [entry.spec for entry in get_registry().vlms.values() if entry.spec is not CLIP_LLM]
        listed = [spec.name for spec in specs if any(known.name == name for known in spec.checkpoints)]
        if len(listed) == 1:
            return listed[0]
    return family_of_type(read_config(name)["model_type"], name)


def family_of_type(model_type: str, name: str) -> str:
    """The family that reads checkpoints of a `model_type`; `name` is the one at hand. See `family_of_checkpoint`."""
    found = get_registry().families_of(model_type)
    if len(found) == 1:
        return found[0].spec.name
    if found:
        claims = " and ".join(f"{entry.spec.name} of {entry.record.package}" for entry in found)
        choices = " or ".join(f"--vlm {entry.spec.name}" for entry in found)
        raise ConfigError(f"{name} is a {model_type} checkpoint, which {claims} both read: choose with {choices}")
    why_not = get_registry().why_no_family_of(model_type)
    if why_not is not None:
        raise PluginError(
            f"{name} is a {model_type} checkpoint: {why_not}; or make do with --vlm generic --mask-features sam"
        )
    return _fallback(name, model_type)


def _family_of(config: ModelConfig) -> str:
    name = config.vlm_model_name
    if (config.image_encoder_model_name is not None and not config.use_vlm) or (name is not None and is_pair(name)):
        return CLIP_LLM.name
    if name is None or config.is_tiny:
        given = "--vlm-model-name tiny does not say of which family" if config.is_tiny else "no model is named"
        installed = ", ".join(sorted(get_registry().vlms))
        raise ConfigError(f"{given}: give --vlm FAMILY (installed: {installed}), or a checkpoint as --vlm-model-name")
    return family_of_checkpoint(name)


def _fallback(name: str, model_type: str) -> str:
    """`generic` for what transformers can load as an image-text-to-text model; ConfigError for all else."""
    # What transformers knows is listed in a module that imports torch, so this is asked last.
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    if model_type in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return GENERIC.name
    what = f"{name} is a {model_type} checkpoint"
    pair = "--vlm clip-llm --image-encoder-model-name {} --text-encoder-model-name {}"
    if model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        hint = f"a language model alone; give it eyes: {pair.format('openai/clip-vit-base-patch16', name)}"
    elif model_type.split("_")[0] in ("clip", "siglip", "siglip2", "dinov2", "dinov3"):
        hint = f"an image encoder; give it a language model: {pair.format(name, 'Qwen/Qwen3-0.6B-Base')}"
    elif model_type not in CONFIG_MAPPING_NAMES:
        hint = f"unknown to the plugins and this transformers: `pip install -U transformers`, or {_WRITE_ONE}"
    else:
        hint = "no image-text-to-text model: give a vision-language model"
    raise ConfigError(f"{what}, {hint}")


def _check_generic(config: ModelConfig) -> None:
    if config.vlm_model_name is None or config.is_tiny:
        raise ConfigError(
            "--vlm generic has neither a default checkpoint nor a tiny model: give --vlm-model-name a checkpoint"
        )
    if config.fusion != "joint" or config.mask_features != "sam":
        raise ConfigError(
            f"{config.vlm_model_name} is read by --vlm generic, which knows of no image grid: give --mask-features sam "
            f"and --fusion joint; for more, {_WRITE_ONE}"
        )


def option_values(family: str, given: Iterable[str]) -> dict[str, Any]:
    """Values by name for every option of a family, as `VLM.configure` takes them.

    Args:
        family: an installed one.
        given: `NAME=VALUE` each; the other options have their defaults.

    Raises:
        ConfigError: naming everything that is wrong at once.
    """
    spec = get_registry().vlm_spec(family)
    options = {option.name: option for option in spec.options}
    values: dict[str, Any] = {option.name: option.default for option in spec.options}
    faults, unknown = [], False
    for text in given:
        name, _, value = text.partition("=")
        if name in options:
            try:
                values[name] = _parse(options[name], value)
            except ValueError as error:
                faults.append(f"--vlm-option {name} is {value!r}, must be {error}")
        else:
            unknown = True
            near = difflib.get_close_matches(name, options, n=1)
            faults.append(
                f"--vlm {spec.name} has no option {name!r}" + (f", did you mean {near[0]!r}?" if near else "")
            )
    if faults:
        known = ", ".join(f"{option.name} ({kind_of(option)})" for option in spec.options) or "none"
        raise ConfigError("; ".join(faults) + (f"; its options: {known}" if unknown else ""))
    return values


def _parse(option: FamilyOption, text: str) -> bool | int | float | str:
    """The value as its kind; raises ValueError that says what it must be."""
    value: bool | int | float | str | None = text
    if option.kind is bool:
        value = {"true": True, "yes": True, "on": True, "1": True}.get(text.lower())
        if text.lower() in ("false", "no", "off", "0"):
            value = False
    elif option.kind in (int, float):
        try:
            value = option.kind(text)
        except ValueError:
            value = None
        if isinstance(value, float) and not math.isfinite(value):
            value = None
    elif option.choices and text not in option.choices:
        value = None
    if value is None:
        raise ValueError(kind_of(option))
    return value


def kind_of(option: FamilyOption) -> str:
    """What an option may be, in words."""
    if option.choices:
        return f"one of {', '.join(option.choices)}"
    return {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}[option.kind]


def option_line(option: FamilyOption) -> str:
    """One line of help."""
    default = "as the checkpoint says" if option.default is None else str(option.default).lower()
    return f"{option.name}=VALUE: {option.help} {kind_of(option).capitalize()}; default: {default}."
