"""Files that a command writes where its user says."""

from __future__ import annotations

from pathlib import Path

from lisa_core.durable import write_whole
from lisa_core.errors import ConfigError


def writable(path: Path | None, option: str) -> None:
    """Raise ConfigError for a file that cannot be written, before anything is computed."""
    if path is not None and path.is_dir():
        raise ConfigError(f"{option}: {path} is a folder, give the name of a file")
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"{option}: the folder {path.parent} does not exist")


def write(path: Path, data: bytes, option: str) -> None:
    """Write a file, whole or not at all; raises ConfigError."""
    try:
        write_whole(path, data)
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror or error}): choose another {option}") from error
