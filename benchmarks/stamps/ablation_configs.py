"""The configurations of `configs/`: what each extends filled in, and the paths of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lisa_core.config_file import resolve
from lisa_core.errors import ConfigError
from lisa_core.settings_file import FIELD_SECTION, settings_layers

CONFIGS = Path(__file__).parent / "configs"
TOWERS = ("image_encoder_model_name", "text_encoder_model_name", "vlm_model_name")
"""The settings that name weights."""


def read_config(name: str, folder: Path = CONFIGS) -> dict[str, Any]:
    """A configuration with what it `extends` filled in, by sections.

    Args:
        name: of the file, without `.yaml`.
        folder: where it lies.

    Raises:
        ConfigError: if there is none of that name, or it is no file for `lisa train --config`.
    """
    layers = _layers(name, folder)
    whole = resolve(file=str(folder / f"{name}.yaml")).config
    whole.validate()
    config: dict[str, Any] = {}
    for key, value in (item for _, layer in layers for item in layer.items()):
        config.setdefault(FIELD_SECTION[key], {})[key] = value
    if not {"model", "data", "optim"} <= config.keys():
        raise ConfigError(f"{folder / name}.yaml lacks model, data or optim: write `extends: base.yaml` and a change.")
    config["optim"].setdefault("num_epochs", whole.optim.num_epochs)
    config["data"].setdefault("batch_size", whole.data.batch_size)
    return config


def parent_of(name: str, folder: Path = CONFIGS) -> str | None:
    """The configuration that one says what it changes in; None: it says all.

    Raises:
        ConfigError: as `read_config`.
    """
    layers = _layers(name, folder)
    return Path(layers[-2][0]).stem if len(layers) > 1 else None


def _layers(name: str, folder: Path) -> list[tuple[str, dict[str, Any]]]:
    path = folder / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(found.stem for found in folder.glob("*.yaml")))
        raise ConfigError(f"there is no configuration {name!r}: choose from {known}.")
    layers = settings_layers(path)
    for file, _ in layers:
        if Path(file).resolve().parent != folder.resolve():
            raise ConfigError(f"{path} extends a file of another folder, {file}: put it beside the others.")
    return layers


def settings(
    config: dict[str, Any],
    data: Path,
    weights: Path,
    features: Path,
    epochs: float = 1.0,
    samples: int | None = None,
    alone: bool = False,
) -> dict[str, Any]:
    """The configuration with the paths of this machine.

    Args:
        config: of `read_config`.
        data: what scenes.py wrote.
        weights: what weights.py wrote.
        features: folder for kept features.
        epochs: so many times the epochs, for a shorter comparison.
        samples: most sentences that are trained on; None: as many as it says.
        alone: in one process, whose batches are as large as those of all processes together.
    """
    config = json.loads(json.dumps(config))
    for name in TOWERS:
        value = config["model"].get(name)
        if value is not None and value.startswith("weights/"):
            config["model"][name] = str(weights / value.removeprefix("weights/"))
    config["data"]["data"] = str(data)
    if config.get("speed", {}).get("feature_cache"):
        config["speed"]["feature_cache"] = str(features)
    if samples is not None:
        config["data"]["max_train_samples"] = samples
    optim = config["optim"]
    optim["num_epochs"] = max(1, round(optim["num_epochs"] * epochs))
    optim["map_epochs"] = min(round(optim.get("map_epochs", 0) * epochs), optim["num_epochs"] - 1)
    if alone and "num_processes" in config.get("run", {}):
        config["data"]["batch_size"] *= config["run"].pop("num_processes") or 1
    return config
