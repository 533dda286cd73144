"""Writes a package to start a VLM family from: complete, and working before its author changes a line."""

from __future__ import annotations

import keyword
import re
from importlib.resources import files
from pathlib import Path
from string import Template

from lisa_core.discovery import core_version
from lisa_core.errors import ConfigError
from lisa_core.registry import KNOWN_PLUGINS, get_registry
from lisa_core.user_path import user_path

_NAME = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
_RESERVED = ("auto", "tiny", "core")


def write_plugin(name: str, parent: Path) -> Path:
    """Write the package of family `name` into a new folder `lisa_NAME` of `parent`.

    Returns:
        the new folder.

    Raises:
        ConfigError: if the name cannot be used, or the folder is there already.
    """
    _check_name(name)
    package = f"lisa_{name.replace('-', '_')}"
    folder = user_path(parent) / package
    if folder.exists():
        raise ConfigError(f"{folder} exists already: choose another name or --dir")
    targets = {
        "pyproject.toml.txt": "pyproject.toml",
        "README.md.txt": "README.md",
        "init.py.txt": f"src/{package}/__init__.py",
        "vlm.py.txt": f"src/{package}/vlm.py",
        "test.py.txt": f"tests/test_{package.removeprefix('lisa_')}.py",
    }
    core, following = _compatible_versions(core_version())
    values = {
        "name": name,
        "package": package,
        "distribution": f"lisa-{name}",
        "cls": "".join(part.capitalize() for part in name.split("-")),
        "core": core,
        "next": following,
    }
    try:
        for template, target in targets.items():
            text = (files(__name__) / "template" / template).read_text(encoding="utf-8")
            path = folder / target
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(Template(text).substitute(values), encoding="utf-8")
        (folder / "src" / package / "py.typed").touch()
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error}): choose another --dir") from error
    return folder


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ConfigError(f"{name!r} cannot be a family's name: use lower-case letters, digits and single hyphens")
    taken = {*_RESERVED, *KNOWN_PLUGINS, *get_registry().vlms}
    if name in taken:
        raise ConfigError(f"there is a family {name!r} already: choose another name")


def _compatible_versions(version: str) -> tuple[str, str]:
    """This minor version and the next: before 1.0 the plugin contract may change between them."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    major, minor = (int(number) for number in numbers.groups()) if numbers else (0, 1)
    return f"{major}.{minor}", f"{major}.{minor + 1}"
