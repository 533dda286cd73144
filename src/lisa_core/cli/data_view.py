"""`lisa data view`: a page of samples with their masks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lisa_core.cli.data_options import Data, Format, Splits
from lisa_core.formats import AUTO


def view(
    directory: Data,
    format: Format = AUTO,
    split: Splits = None,
    samples: Annotated[int, typer.Option("--samples", "-n", min=1, help="How many samples of each split.")] = 48,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Page to write: X.html (all in one file), or a folder for index.html and images."
        ),
    ] = Path("view.html"),
) -> None:
    """Write an HTML page of samples drawn at random, with their masks; a field filters them, a slider fades the masks.

    lisa data view my_data --split val -n 100 -o val.html
    """
    from rich.console import Console

    from lisa_core.html_dataset import write_viewer
    from lisa_core.html_page import check_report

    check_report(output, "--output")
    console = Console(stderr=True)
    with console.status("drawing samples") if console.is_terminal else console:
        path = write_viewer(output, directory, format, split, samples, seed)
    console.print(f"written to {path}", markup=False, highlight=False, soft_wrap=True)
