"""New files and folders in the place of older ones: whole, on the disk, or not at all."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path


def finish(path: Path) -> None:
    """Give a file its usual mode; then `sync`."""
    usual_mode(path)
    sync(path)


def usual_mode(path: Path) -> None:
    """Give a new file the mode that new files have: safetensors writes for the owner alone."""
    if path.is_file() and not path.is_symlink():
        mask = os.umask(0)
        os.umask(mask)
        path.chmod(0o666 & ~mask)


def sync(path: Path) -> None:
    """Make sure that a file's bytes, or a folder's names, are on the disk before anything relies on it."""
    if path.is_dir() and sys.platform == "win32":
        return  # folders cannot be opened there
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_whole(path: Path, data: bytes) -> None:
    """Write a file: at any moment, and after a failure, there is the whole new one or the older one.

    Raises:
        OSError: if it cannot be written.
    """
    fresh = path.with_name(f"{path.name}.new")
    fresh.write_bytes(data)
    sync(fresh)
    os.replace(fresh, path)


def put_in_place(stage: Path, out: Path) -> None:
    """Let a finished folder take the place of an older one; the older one is back if that fails."""
    if not out.exists():
        stage.rename(out)
    else:
        old = out.with_name(f"{stage.name}.old")
        out.rename(old)
        try:
            stage.rename(out)
        except BaseException:
            old.rename(out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    sync(out.parent)
