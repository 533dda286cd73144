"""What there is to choose from: families, their known checkpoints, SAM's weights, and where they would be read from."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from typing import Any

from lisa_core.discovery import CORE
from lisa_core.errors import ConfigError
from lisa_core.families import is_pair, kind_of
from lisa_core.registry import KNOWN_PLUGINS, SAM_CHECKPOINTS, Registered, get_registry
from lisa_core.sources import read_config, weights_source
from lisa_core.types import KnownCheckpoint, VLMSpec

SAM_WEIGHTS = {
    "kind": "file",
    "path": "",
    "line": "never downloaded: --sam-checkpoint names the official file, for vit_b sam_vit_b_01ec64.pth",
}
"""Where SAM's weights come from; see `source_record`."""


def catalogue() -> dict[str, Any]:
    """Everything `lisa models` lists, as plain data for JSON.

    Returns:
        `families`: one record each (see `family_record`); `sam`: checkpoints of SAM; `not_installed`: pip names of
        known plugins by family; `not_usable`: what is wrong with plugins that are installed, by package.
    """
    registry = get_registry()
    return {
        "families": [family_record(entry) for entry in registry.vlms.values()],
        "sam": [{**dataclasses.asdict(known), "weights": SAM_WEIGHTS} for known in SAM_CHECKPOINTS],
        "not_installed": {
            name: known.distribution
            for name, known in KNOWN_PLUGINS.items()
            if name not in registry.vlms and all(record.name != name for record in registry.plugins)
        },
        "not_usable": {record.package: record.error for record in registry.plugins if record.status != "ok"},
    }


def family_record(entry: Registered[VLMSpec]) -> dict[str, Any]:
    """A family as plain data."""
    spec = entry.spec
    return {
        "name": spec.name,
        "package": entry.record.distribution,
        "version": entry.record.version,
        "summary": spec.summary,
        "geometry": spec.geometry,
        "default_checkpoint": spec.default_checkpoint,
        "model_types": list(spec.model_types),
        "options": [
            {
                "name": option.name,
                "kind": option.kind.__name__,
                "default": option.default,
                "choices": list(option.choices),
                "takes": kind_of(option),
                "help": option.help,
            }
            for option in spec.options
        ],
        "checkpoints": [checkpoint_record(known) for known in spec.checkpoints],
    }


def checkpoint_record(known: KnownCheckpoint) -> dict[str, Any]:
    """A known checkpoint as plain data, with where its weights would be read from."""
    return {**dataclasses.asdict(known), "weights": source_record(known.name)}


def source_record(name: str) -> dict[str, str]:
    """Where the weights of a hub name or folder would be read from: `kind`, `path`, and both as a `line`."""
    source = weights_source(name)
    return {**dataclasses.asdict(source), "line": source.line}


def known_checkpoint(name: str) -> tuple[KnownCheckpoint, Registered[VLMSpec] | None] | None:
    """The known checkpoint of a hub name with its family (None for SAM's); None if nobody lists it."""
    for entry in get_registry().vlms.values():
        for known in entry.spec.checkpoints:
            if known.name == name:
                return known, entry
    return next(((known, None) for known in SAM_CHECKPOINTS if known.name == name), None)


def shipped_config(name: str, spec: VLMSpec | None) -> dict[str, Any] | None:
    """The config of a known checkpoint as it lies in its plugin's package (None: core's), if it does."""
    package = "lisa_core" if spec is None else spec.target.partition(":")[0].partition(".")[0]
    file = resources.files(package) / "configs" / f"{name.replace('/', '__')}.json"
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None


def look_up(name: str) -> list[tuple[str, dict[str, Any], str]]:
    """The checkpoints that `lisa models NAME` is about, one or a pair's two: (name, config, where that came from).

    Args:
        name: a family (for its default checkpoint; empty if it has none), a known checkpoint, a hub name, a local
            folder, or `IMAGE_ENCODER+TEXT_ENCODER`.

    Raises:
        ConfigError, PluginError: if nothing is known by that name, or the config cannot be had.
    """
    registry = get_registry()
    if name in registry.vlms:
        default = registry.vlms[name].spec.default_checkpoint
        return [_look_up_one(part) for part in default.split("+") if part]
    unusable = (record for record in registry.plugins if record.status != "ok")
    if name in KNOWN_PLUGINS or any(name in (record.name, *record.families) for record in unusable):
        registry.vlm_spec(name)  # raises: it is not installed, or broken
    return [_look_up_one(part) for part in (name.split("+") if is_pair(name) else [name])]


def _look_up_one(name: str) -> tuple[str, dict[str, Any], str]:
    known = known_checkpoint(name)
    if known is not None:
        entry = known[1]
        config = shipped_config(name, None if entry is None else entry.spec)
        if config is not None:
            return name, config, f"the one that comes with {CORE if entry is None else entry.record.distribution}"
    try:
        return name, read_config(name), "its own config.json"
    except ConfigError as error:
        if "/" in name or "\\" in name:
            raise
        families = ", ".join(sorted(get_registry().vlms))
        raise ConfigError(f"{name!r} is no installed family ({families}) and no known checkpoint; {error}") from error


def short_count(parameters: int) -> str:
    """A parameter count for people: `7.06B`, `149.6M`."""
    return f"{parameters / 1e9:.2f}B" if parameters >= 999_500_000 else f"{parameters / 1e6:.1f}M"
