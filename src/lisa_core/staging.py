"""A model's folder where a user asks for one: there whole, or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
import textwrap
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from lisa_core.checkpoint import META_FILE, VLM_FOLDER, WEIGHTS_FILE
from lisa_core.discovery import one_line
from lisa_core.durable import finish, put_in_place
from lisa_core.errors import CheckpointError, ConfigError
from lisa_core.standalone import CARD_FILE, SAM_FILE
from lisa_core.user_path import user_path
from lisa_core.vetting import DATA_SUFFIXES

_OWN_FILES = (META_FILE, WEIGHTS_FILE, SAM_FILE, CARD_FILE)
_WORTHLESS = (".DS_Store", "Thumbs.db")  # file managers leave them everywhere


def target(out: str | Path, overwrite: bool, needed: Iterable[str | Path] = (), pulled: bool = False) -> Path:
    """The absolute path of a folder that a model may be written to.

    Args:
        out: where the user wants it.
        overwrite: an older model there may be replaced.
        needed: files and folders that must stay, since the new model is made from them.
        pulled: a `LICENSE` there is the older model's own, which came with it from the hub.

    Raises:
        ConfigError: if something else is there, or would be lost, or nothing can be written there.
    """
    path = Path(os.path.realpath(user_path(out)))
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{out} is a file: give the name of a new folder")
    for source in needed:
        if path in [(real := Path(os.path.realpath(source))), *real.parents]:
            raise ConfigError(f"{out} is, or holds, {source}, which the model is made from: choose another folder")
    if path.is_dir() and any(path.iterdir()):
        _refuse_unless_replaceable(out, path, overwrite, pulled)
    _refuse_unless_writable(out, path)
    return path


def _refuse_unless_replaceable(out: str | Path, path: Path, overwrite: bool, pulled: bool) -> None:
    """Raise ConfigError unless a folder holds a model and nothing else, which may be replaced."""
    foreign = sorted(_foreign(path, pulled))
    named = ", ".join(foreign[:3]) + (f" and {len(foreign) - 3} more" if len(foreign) > 3 else "")
    begin = "" if overwrite else "is not empty, and "
    if foreign:
        raise ConfigError(
            f"{out} {begin}holds other things than a model ({named}), which are never replaced: choose another folder"
        )
    if not (path / META_FILE).is_file():
        raise ConfigError(f"{out} {begin}holds no whole model that could be replaced: choose another folder")
    if not overwrite:
        raise ConfigError(f"{out} is not empty: choose another folder, or replace the model there (--overwrite)")


def _foreign(folder: Path, pulled: bool) -> Iterator[str]:
    """Names, within a folder, of all that is no part of a model that was merged, exported or pulled."""
    for path in folder.iterdir():
        if path.name in _WORTHLESS or (path.name in _OWN_FILES and not path.is_dir()):
            continue
        if path.name == VLM_FOLDER and path.is_dir():
            inside = (inner for inner in path.rglob("*") if inner.is_symlink() or not inner.is_dir())
            yield from (inner.relative_to(folder).as_posix() for inner in inside if not _may_be_a_vlm_s(inner))
        elif not (pulled and path.name.startswith("LICENSE") and path.is_file()):
            yield path.name


def _may_be_a_vlm_s(path: Path) -> bool:
    ours = path.suffix.lower() in DATA_SUFFIXES and not path.name.startswith(".")
    return path.name in _WORTHLESS or ours


def _refuse_unless_writable(out: str | Path, path: Path) -> None:
    """Raise ConfigError unless a folder can be made where `path` is to be: that is found out before a model is read."""
    above = next(parent for parent in path.parents if parent.exists())
    if not above.is_dir():
        raise ConfigError(f"{out} cannot be written: {above} is a file; choose another folder")
    try:
        os.rmdir(tempfile.mkdtemp(prefix=".lisa-", dir=above))
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigError(f"{out} cannot be written ({reason} in {above}): choose another folder") from error


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
            finish(path)
        put_in_place(stage, out)
    except Exception as error:
        # The tokenizers library raises a plain Exception for a full disk, in Rust's words.
        if isinstance(error, (OSError, SafetensorError)) or "os error" in str(error):
            reason = textwrap.shorten(one_line(error), 200, placeholder=" ...")
            raise CheckpointError(
                f"{out} cannot be written ({reason}): free space, or choose another folder; nothing was left behind"
            ) from error
        raise
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
