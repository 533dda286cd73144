"""What the commands of `lisa data` that read a dataset have in common: their options, a progress bar, files written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lisa_core.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console

Data = Annotated[str, typer.Argument(metavar="DIR", help="Folder of the dataset, or hf:ORG/NAME.", show_default=False)]
Format = Annotated[str, typer.Option("--format", "--data-format", help="Format of the data; auto: told by the folder.")]
Splits = Annotated[
    list[str] | None,
    typer.Option("--split", help="Only this split; may be repeated. Default: all.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")]


@contextmanager
def bar(console: Console, verb: str) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar of samples; what it yields is told split, done and total."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("reading annotations", total=None)
        yield lambda split, done, total: progress.update(
            task, description=f"{verb} {split}", completed=done, total=total
        )


def writable(path: Path | None, option: str) -> None:
    """Raise ConfigError for a file that cannot be written, before anything is computed."""
    if path is not None and path.is_dir():
        raise ConfigError(f"{option}: {path} is a folder, give the name of a file")
    if path is not None and not path.parent.is_dir():
        raise ConfigError(f"{option}: the folder {path.parent} does not exist")


def write(path: Path, data: bytes, option: str) -> None:
    """Write a file, whole or not at all; raises ConfigError."""
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror or error}): choose another {option}") from error
