"""A config of several layers: presets, a file, the config of an earlier run, and flags on top of them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from lisa_core.config import SECTIONS, TrainConfig
from lisa_core.errors import ConfigError
from lisa_core.model_config import TINY, ModelConfig
from lisa_core.packaged import model_folder
from lisa_core.presets import PRESETS
from lisa_core.run_files import BEST, CONFIG_FILE, LAST, META_FILE
from lisa_core.settings_file import FIELD_SECTION, read_settings, settings_layers
from lisa_core.user_path import user_path


@dataclasses.dataclass(frozen=True)
class Resolved:
    """A config, and where each of its settings comes from."""

    config: TrainConfig
    """Not validated yet."""
    origins: dict[str, str]
    """By setting: `default`, `preset 8gb`, the file's name or `flag`."""


def resolve(flags: Mapping[str, Any] | None = None, file: str | None = None, preset: str | None = None) -> Resolved:
    """A config from presets, a file and flags; each of them overrides those before it.

    Several presets are joined by commas.

    `resume` among the flags, naming a run, stands for that run's own settings, between file and flags. `init_from`
    stands for what gives the weights of a checkpoint their shapes, before all others; where no other VLM is named, for
    a tiny one too.

    Raises:
        ConfigError: if the file or the preset is not there, or holds what is no setting.
    """
    flags = dict(flags or {})
    layers: list[tuple[str, Mapping[str, Any]]] = []
    for name in map(str.strip, preset.split(",")) if preset is not None else ():
        if name not in PRESETS:
            raise ConfigError(f"--preset {name} is not known: choose among {', '.join(PRESETS)}")
        layers.append((f"preset {name}", PRESETS[name].settings))
    if file is not None:
        layers += settings_layers(user_path(file))
    resume = flags.get("resume")
    if resume is not None and resume != "auto":
        run = _run_of(user_path(resume))
        # How the earlier run was started is not how this one is.
        own = {key: value for key, value in read_settings(run / CONFIG_FILE).items() if key not in _OF_A_START}
        layers.append((str(run / CONFIG_FILE), {**own, "output_dir": str(run)}))
    layers.append(("flag", flags))
    given = {name: value for _, layer in layers for name, value in layer.items()}
    start = given.get("init_from")
    if isinstance(start, str) and start:
        kept = _kept_of(model_folder(start))
        if any(given.get(name) for name in _BASES):
            kept = {name: value for name, value in kept.items() if name not in ("vlm", "vlm_model_name")}
        layers.insert(0, (start, kept))
    values: dict[str, Any] = {}
    origins = dict.fromkeys(FIELD_SECTION, "default")
    for origin, layer in layers:
        for name, value in layer.items():
            values[name], origins[name] = value, origin
    sections = {
        section: cls(**{item.name: values[item.name] for item in dataclasses.fields(cls) if item.name in values})
        for section, cls in SECTIONS.items()
    }
    return Resolved(TrainConfig(**sections), origins)


_KEPT = (
    "fusion",
    "mask_features",
    "similarity_map",
    "standardize_text",
    "aggregate_map",
    "map_prompt",
    "fine_features",
    "unfold_patches",
    "refine_masks",
    "num_prompts",
    "sam_prompt_dim",
    "sam_decoder_depth",
    "img_size",
    "mask_temperature",
    "flip_test",
)
"""What gives a checkpoint's weights their shapes, and what they are best used with."""
_BASES = ("vlm_model_name", "image_encoder_model_name", "text_encoder_model_name")
_OF_A_START = ("resume", "init_from", "overwrite")


def _run_of(path: Path) -> Path:
    """The run's folder that a path means: itself, or that of the checkpoint that it is."""
    resolved = path.resolve()
    for folder in (path, resolved.parent, resolved.parent.parent):
        if (folder / CONFIG_FILE).is_file():
            return folder
    raise ConfigError(f"--resume {path}: there is no run with a {CONFIG_FILE}: give a run's folder, or `auto`")


def _kept_of(path: Path) -> dict[str, Any]:
    """What a new run from a checkpoint's weights keeps; empty for what is no checkpoint, which its reader tells."""
    for folder in (path, path / BEST, path / LAST):
        try:
            meta = json.loads((folder / META_FILE).read_text(encoding="utf-8"))
            model = meta["model"]
            found = {name: model[name] for name in _KEPT if name in model}
            if model["vlm_model_name"] == TINY or meta.get("from_scratch") is True:
                found |= {"vlm": model["vlm"], "vlm_model_name": TINY}
            # `auto` follows the name of the VLM, which is another one in the new run.
            return {**found, "sam": ModelConfig(vlm_model_name=model["vlm_model_name"], sam=model["sam"]).sam_size_name}
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            continue
    return {}


def as_plain(config: TrainConfig) -> dict[str, dict[str, Any]]:
    """All settings as YAML and JSON take them."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def to_yaml(resolved: Resolved) -> str:
    """A file with every setting, what it means, its bounds and its default; what is not given is commented out."""
    lines = ["# Settings of `lisa train --config FILE`; flags on the command line override them."]
    for section, cls in SECTIONS.items():
        lines += ["", f"{section}:  # {cls.__doc__}"]
        for item in dataclasses.fields(cls):
            value = getattr(getattr(resolved.config, section), item.name)
            given = resolved.origins[item.name] != "default"
            lines.append(f"  # {item.metadata['help']}" + "".join(_bounds(item)))
            lines.append(f"  {'' if given else '# '}{item.name}: {_yaml_value(value)}")
    return "\n".join(lines) + "\n"


def _bounds(item: dataclasses.Field[Any]) -> Iterable[str]:
    for key, word in (("low", "at least"), ("above", "above"), ("high", "at most")):
        if item.metadata[key] is not None:
            yield f" ({word} {item.metadata[key]})"


def _yaml_value(value: Any) -> str:
    text = yaml.safe_dump(list(value) if isinstance(value, tuple) else value, default_flow_style=True, width=10**6)
    return text.removesuffix("\n").removesuffix("\n...")
