"""Where a checkpoint's files are, and what its config says; asks the hub for a config at most. Imports no torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lisa_core.errors import ConfigError
from lisa_core.user_path import user_path

CONFIG_FILE = "config.json"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass(frozen=True)
class WeightsSource:
    """Where the weights of a checkpoint would be read from."""

    kind: Literal["folder", "cache", "hub", "nowhere"]
    """A local folder; the hub's cache; the hub; nowhere, for what is not in the cache while offline."""
    path: str
    """The folder or the cached snapshot; else the cache that was searched."""

    @property
    def line(self) -> str:
        """For people."""
        return {
            "folder": f"local folder {self.path}",
            "cache": f"already in the hub cache: {self.path}",
            "hub": f"would be downloaded from the hub into {self.path}",
            "nowhere": f"not in the hub cache {self.path}, and HF_HUB_OFFLINE forbids the download",
        }[self.kind]


def weights_source(name: str) -> WeightsSource:
    """Where the weights of a hub name or a local folder would be read from, without touching the network."""
    folder = user_path(name)
    if folder.is_dir():
        return WeightsSource("folder", str(folder))

    from huggingface_hub import constants

    cache = str(constants.HF_HUB_CACHE)
    snapshot = _cached_weights(name)
    if snapshot is not None:
        return WeightsSource("cache", str(snapshot))
    return WeightsSource("nowhere" if constants.HF_HUB_OFFLINE else "hub", cache)


def _cached_weights(name: str) -> Path | None:
    """The snapshot of a hub name whose weights are all in the cache."""
    for file in _WEIGHTS:
        whole = _cached(name, file)
        if whole is not None:
            return whole.parent
        index = _cached(name, f"{file}.index.json")
        if index is not None:
            try:
                shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            except (OSError, ValueError, KeyError, TypeError, AttributeError):
                continue  # a download that was cut off: as good as absent
            if all((index.parent / str(shard)).is_file() for shard in shards):
                return index.parent
    return None


def _cached(name: str, file: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, file)
    except HFValidationError:
        return None
    return Path(found) if isinstance(found, str) else None


def read_config(name: str) -> dict[str, Any]:
    """The `config.json` of a checkpoint; a hub name that is not in the cache is asked for on the hub.

    Args:
        name: hub name or local folder.

    Returns:
        its content; `model_type` is a string.

    Raises:
        ConfigError: if there is none, or it is not a config of a transformers model.
    """
    path = _config_file(name)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(f"{CONFIG_FILE} of {name} cannot be read ({reason}): get the checkpoint again") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise ConfigError(
            f"{CONFIG_FILE} of {name} names no model_type: it does not describe a model that transformers can load"
        )
    return config


def _config_file(name: str) -> Path:
    folder = user_path(name)
    if folder.is_dir():
        if (folder / CONFIG_FILE).is_file():
            return folder / CONFIG_FILE
        raise ConfigError(f"the folder {name} has no {CONFIG_FILE}: give the folder of one checkpoint")
    if folder.exists():
        raise ConfigError(f"{name} is a file: give the folder of a checkpoint, or a hub name")
    if name.startswith((".", "/", "~")) or "\\" in name or name.count("/") > 1:
        raise ConfigError(f"there is no folder {name}: give the folder of a checkpoint, or a hub name (ORG/NAME)")
    # What is cached is asked of nobody: the architecture behind a name does not change, and the hub may be far away.
    return _cached(name, CONFIG_FILE) or _hub_config_file(name)


def _hub_config_file(name: str) -> Path:
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    try:
        return Path(hf_hub_download(name, CONFIG_FILE))
    except HFValidationError as error:
        reason = "neither a folder nor a hub name (ORG/NAME): check the spelling"
        raise ConfigError(f"{name!r} is {reason}") from error
    except GatedRepoError as error:
        reason = f"is gated: accept its licence at https://huggingface.co/{name} and run `hf auth login`"
        raise ConfigError(f"{name} {reason}") from error
    except RepositoryNotFoundError as error:
        reason = "is no local folder, and the hub has no such model, or it is private (`hf auth login`)"
        raise ConfigError(f"{name} {reason}: check the spelling") from error
    except LocalEntryNotFoundError as error:
        cause = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise ConfigError(
            f"{name} is no local folder and not in the hub cache {constants.HF_HUB_CACHE}, and {cause}: check the "
            "spelling, give a folder, or go online"
        ) from error
    except EntryNotFoundError as error:
        raise ConfigError(f"{name} on the hub has no {CONFIG_FILE}: it is no transformers checkpoint") from error
    except (OSError, ValueError, HfHubHTTPError) as error:
        reason = " ".join(str(error).split())[:160]
        raise ConfigError(f"{CONFIG_FILE} of {name} cannot be had from the hub ({reason}): try again later") from error
