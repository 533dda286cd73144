"""The configurations of `configs/`: what each extends filled in, and the paths of this machine."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from lisa_core.errors import ConfigError

CONFIGS = Path(__file__).parent / "configs"


def read_config(name: str, folder: Path = CONFIGS, above: tuple[str, ...] = ()) -> dict[str, Any]:
    """A configuration with what it `extends` filled in.

    Args:
        name: of the file, without `.yaml`.
        folder: where it lies.
        above: those that extend it.

    Raises:
        ConfigError: if there is none of that name, it cannot be read, or it extends itself.
    """
    config = _read(name, folder)
    parent = config.pop("extends", None)
    if parent is None:
        return config
    if parent in (*above, name):
        raise ConfigError(f"{folder / name}.yaml extends {parent!r}, which extends it: extend another one.")
    merged = read_config(parent, folder, (*above, name))
    for section, values in config.items():
        merged[section] = {**merged.get(section, {}), **values}
    return merged


def parent_of(name: str, folder: Path = CONFIGS) -> str | None:
    """The configuration that one says what it changes in; None: it says all.

    Raises:
        ConfigError: if there is none of that name, or it cannot be read.
    """
    return _read(name, folder).get("extends")


def _read(name: str, folder: Path) -> dict[str, Any]:
    path = folder / f"{name}.yaml"
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(found.stem for found in folder.glob("*.yaml")))
        raise ConfigError(f"there is no configuration {name!r}: choose from {known}.") from error
    except (ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} is no YAML ({' '.join(str(error).split())}): mend it.") from error
    sections = {key: value for key, value in config.items() if key != "extends"} if isinstance(config, dict) else {}
    if not sections or not all(isinstance(values, dict) for values in sections.values()):
        raise ConfigError(f"{path} has not only sections of settings: write `extends: base` and what it changes.")
    if "extends" not in config and not {"model", "data", "optim"} <= config.keys():
        raise ConfigError(f"{path} lacks model, data or optim: write `extends: base` and what it changes.")
    return config


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
    for name in ("image_encoder_model_name", "text_encoder_model_name", "vlm_model_name"):
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
        config["data"]["batch_size"] *= config["run"].pop("num_processes")
    return config
