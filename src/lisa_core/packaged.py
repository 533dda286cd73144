"""Models that come with this package, by name."""

from __future__ import annotations

from os import PathLike, fspath
from pathlib import Path

from lisa_core.user_path import user_path

PRETRAINED = Path(__file__).parent / "pretrained"
"""Holds a folder for each of them, as `lisa export` writes one."""
PACKAGED = ("tiny",)
"""Their names."""


def model_folder(name: str | PathLike[str]) -> Path:
    """The folder that a model's name means: the one of that name here, else the packaged model so called."""
    path = user_path(name)
    return PRETRAINED / path.name if is_packaged(name) and not path.is_dir() else path


def is_packaged(name: str | PathLike[str]) -> bool:
    """Whether a packaged model is called so; a folder of that name here is meant before it."""
    return fspath(name) in PACKAGED
