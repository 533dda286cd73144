"""The settings that a YAML or JSON file holds, with those of the file that it extends below them."""

from __future__ import annotations

import dataclasses
import difflib
import json
from pathlib import Path
from typing import Any, get_origin

import yaml

from lisa_core.config import SECTIONS
from lisa_core.errors import ConfigError
from lisa_core.mixing import from_list
from lisa_core.settings import hints_of
from lisa_core.user_path import user_path

ENVIRONMENT = "environment"
"""The section of a run's `config.json` that says where the run comes from; it holds no settings."""

EXTENDS = "extends"
"""What names the file whose settings another one overrides."""

FIELD_SECTION = {item.name: name for name, section in SECTIONS.items() for item in dataclasses.fields(section)}
"""Section of every setting; their names are unique."""

_OF_ITS_FOLDER = ("output_dir", "resume", "overwrite")
"""What of a run's record is no recipe for another run, which would be written over it."""
_OF_THE_DATA = ("dataset", "data_format", "sample_rates")
"""What says something of `data`, and goes with it where another file names other data."""


def read_settings(path: Path) -> dict[str, Any]:
    """The settings of a YAML or JSON file by name, as config fields hold them; its own override what it `extends`.

    Sections and flat names both do; `-` in a name is as good as `_`.

    Raises:
        ConfigError: if it cannot be read, naming everything in it that is no setting.
    """
    return {name: value for _, layer in settings_layers(path) for name, value in layer.items()}


def settings_layers(path: Path, above: tuple[Path, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    """The settings of a file after those of the file that it `extends`, and so on, each with the file's name.

    Args:
        path: of the file; what it extends is found from its folder.
        above: resolved paths of the files that extend it.

    Raises:
        ConfigError: as `read_settings`, and if it extends no file, or itself.
    """
    content = _load(path)
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise ConfigError(f"{path} must hold settings by name, not a {type(content).__name__}: see `lisa config init`")
    extends = EXTENDS in content
    parent = content.pop(EXTENDS, None)
    own = _own_settings(path, content)
    if not extends:
        return [(str(path), own)]
    other = _beside(path, parent)
    above = (*above, path.resolve())
    if other.resolve() in above:
        raise ConfigError(f"{path}: it extends {parent}, which extends it: extend another file")
    layers = settings_layers(other, above)
    if "data" in own:
        layers = [(name, {key: layer[key] for key in layer if key not in _OF_THE_DATA}) for name, layer in layers]
    return [*layers, (str(path), own)]


def _beside(path: Path, name: Any) -> Path:
    """The file that another one at `path` names."""
    if not isinstance(name, str):
        raise ConfigError(f"{path}: {EXTENDS} must be the path of one config file, not {name!r}")
    try:
        other = path.parent / user_path(name)
        if other.is_file():
            return other
        files = {file.stem: file.name for file in other.parent.iterdir() if file.suffix in (".yaml", ".yml", ".json")}
    except (OSError, ValueError):  # locked, too long, a NUL
        files = {}
    near = difflib.get_close_matches(Path(name).stem, sorted(files), n=1)
    hint = f"did you mean {files[near[0]]}?" if near else "give its path, from the folder of the file that extends it"
    raise ConfigError(f"{path}: there is no file {name!r} to extend: {hint}")


def _own_settings(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """The settings of a file's content by name; of a run's record, without where and how that run was started."""
    found: dict[str, Any] = {}
    faults: list[str] = []
    for key, value in content.items():
        name = str(key).replace("-", "_")
        if name == ENVIRONMENT:
            continue
        if name in SECTIONS and (value is None or isinstance(value, dict)):
            entries: list[tuple[str, Any, str | None]] = [
                (str(inner).replace("-", "_"), item, name) for inner, item in (value or {}).items()
            ]
        else:
            entries = [(name, value, None)]
        for inner, item, section in entries:
            if inner not in FIELD_SECTION or (section is not None and FIELD_SECTION[inner] != section):
                faults.append(_unknown(inner, section))
            elif inner in found:
                faults.append(f"{inner} is given twice")
            else:
                found[inner] = _as_field(inner, item)
    if isinstance(found.get("data"), list):
        try:
            settings = from_list(found["data"])
            faults += [f"{name} is given twice" for name in settings if name != "data" and name in found]
            found |= settings
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError(f"{path}: {'; '.join(faults)}")
    if ENVIRONMENT in content:
        found = {name: value for name, value in found.items() if name not in _OF_ITS_FOLDER}
    return found


def _unknown(name: str, section: str | None) -> str:
    if name in FIELD_SECTION:
        return f"{name} belongs to the section {FIELD_SECTION[name]}, not {section}"
    if name.lower() == EXTENDS:
        return f"{EXTENDS} is written so, and outside of the sections"
    if name in SECTIONS:
        return f"{name} is a section: write its settings below it"
    near = difflib.get_close_matches(name, [*FIELD_SECTION, *SECTIONS, EXTENDS], n=1)
    return f"{name} is no setting" + (f", did you mean {near[0]}?" if near else "")


def _as_field(name: str, value: Any) -> Any:
    """The value in the field's own type, where YAML has another notation of it; others are left to be refused."""
    hint = hints_of(SECTIONS[FIELD_SECTION[name]])[name]
    if get_origin(hint) is tuple:
        return tuple(value) if isinstance(value, list) else (value,) if isinstance(value, str) else value
    if name == "sample_rates" and value is not None and not isinstance(value, str):
        return ",".join(map(str, value)) if isinstance(value, list) else str(value)
    if isinstance(value, str) and float in (hint, *getattr(hint, "__args__", ())):
        try:
            return float(value)  # YAML takes 1e-4 for a word
        except ValueError:
            return value
    return value


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which takes a key given twice for the mistake that it is."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(None, None, f"the name {key!r} is no text", key_node.start_mark)
        if key in seen:
            raise yaml.constructor.ConstructorError(None, None, f"{key} is given twice", key_node.start_mark)
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object, of which no key may be given twice."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"{key} is given twice")
        found[key] = value
    return found


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def _load(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
        if len(text) > 1_000_000:
            raise ValueError("it is larger than a config can be")
        if path.suffix == ".json":  # YAML takes all of JSON but characters that are escaped in two halves
            return json.loads(text, object_pairs_hook=_unique)
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ValueError("references (*name) are not allowed")
        return yaml.load(text, Loader=_Loader)  # a safe loader
    except FileNotFoundError as error:
        raise ConfigError(f"there is no config file {path}: `lisa config init {path}` writes one") from error
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ConfigError(f"the config file {path} cannot be read ({reason})") from error
