"""What the commands of `lisa data` that read a dataset have in common: their options and a progress bar."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

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
