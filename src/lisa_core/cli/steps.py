"""What a command that takes minutes shows: the step it is at, and for how long, on a terminal; else a line a step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def steps() -> Iterator[Callable[[str], None]]:
    """Gives a function that is told of each step as it begins; all on stderr, transformers' own bars put away."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from transformers.utils import logging as hf_logging

    console = Console(stderr=True)
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    shown = hf_logging.is_progress_bar_enabled()
    hf_logging.disable_progress_bar()
    try:
        with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
            task = bar.add_task("starting", total=None)

            def say(text: str) -> None:
                bar.update(task, description=text)
                console.print(text, markup=False, highlight=False, soft_wrap=True)

            yield say
    finally:
        if shown:
            hf_logging.enable_progress_bar()
