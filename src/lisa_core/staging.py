"""A model's folder where a user asks for one: there whole, or not at all."""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from lisa_core.checkpoint import META_FILE, sync
from lisa_core.discovery import one_line
from lisa_core.errors import CheckpointError, ConfigError


def target(out: str | Path, overwrite: bool, needed: Iterable[str | Path] = ()) -> Path:
    """The absolute path of a folder that a model may be written to.

    Args:
        out: where the user wants it.
        overwrite: an older model there may be replaced.
        needed: files and folders that must stay, since the new model is made from them.

    Raises:
        ConfigError: if something else is there, or would be lost.
    """
    path = Path(os.path.realpath(Path(out).expanduser()))
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{out} is a file: give the name of a new folder")
    for source in needed:
        if path in [(real := Path(os.path.realpath(source))), *real.parents]:
            raise ConfigError(f"{out} is, or holds, {source}, which the model is made from: choose another folder")
    if path.is_dir() and any(path.iterdir()):
        if not overwrite:
            raise ConfigError(f"{out} is not empty: choose another folder, or replace the model there (--overwrite)")
        if not (path / META_FILE).is_file():
            raise ConfigError(f"{out} holds other things than a model, which --overwrite would remove: choose another")
    return path


@contextmanager
def staged(out: Path) -> Iterator[Path]:
    """A new, hidden folder beside `out` to write into; it becomes `out` at the end, and is gone if anything fails.

    Args:
        out: what `target` returned.

    Raises:
        CheckpointError: if it cannot be written.
    """
    stage = out.with_name(f".{out.name}.{uuid.uuid4().hex[:8]}.new")
    try:
        stage.mkdir(parents=True)
        yield stage
        for path in [*sorted(stage.rglob("*")), stage]:
            sync(path)
        put_in_place(stage, out)
    except Exception as error:
        # The tokenizers library raises a plain Exception for a full disk, in Rust's words.
        if isinstance(error, (OSError, SafetensorError)) or "os error" in str(error):
            reason = one_line(error)[:200]
            raise CheckpointError(
                f"{out} cannot be written ({reason}): free space, or choose another folder; nothing was left behind"
            ) from error
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


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


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
