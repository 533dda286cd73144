"""Paths as users write them."""

from __future__ import annotations

from os import PathLike
from pathlib import Path


def user_path(name: str | PathLike[str]) -> Path:
    """The path that a name means, with `~` filled in; `~nobody`, where there is no such user, is a file's name."""
    try:
        return Path(name).expanduser()
    except RuntimeError:
        return Path(name)
