"""`lisa plot`: the curves of one run or several, as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lisa_core.cli.files import writable, write
from lisa_core.errors import ConfigError
from lisa_core.user_path import user_path

_FORMATS = (".png", ".svg", ".pdf")


def plot(
    paths: Annotated[list[Path], typer.Argument(metavar="RUN", help="Folders of runs, or folders that hold some.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="PNG (or .svg, .pdf) to write; default: RUN/curves.png, for several runs curves.png right here.",
        ),
    ] = None,
    smooth: Annotated[
        int | None, typer.Option(min=1, help="Steps to average curves over; 1: none. Default: 1/25 of the longest run.")
    ] = None,
) -> None:
    """Draw a run's curves: loss and its terms, gIoU, cIoU, listening, learning rate, gradient norm; or compare runs.

      lisa plot runs/mine                      (writes runs/mine/curves.png)

      lisa plot runs/a runs/b -o a_and_b.png   (a colour for each run)

    Works while a run is going on. Needs matplotlib: pip install 'lisa-core\\[plot]'
    """
    if output is not None:
        _check(output)

    from lisa_core.run_history import find_runs, read_runs

    try:
        from lisa_core.plots import draw_runs
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "matplotlib":
            raise
        raise ConfigError("lisa plot needs matplotlib: run `pip install 'lisa-core[plot]'`") from error

    runs, faults = read_runs(find_runs(paths))
    for folder, reason in faults.items():
        if not runs or folder in [user_path(path) for path in paths]:  # asked for by name
            raise ConfigError(reason)
        typer.echo(f"left out: {reason}", err=True)
    file = output or (runs[0].path if len(runs) == 1 else Path()) / "curves.png"
    _check(file)
    picture = draw_runs(runs, smooth, file.suffix[1:])
    write(file, picture, "--output")
    for run in runs:
        for note in run.log.notes():
            typer.echo(f"{run.path}: {note}", err=True)
    typer.echo(f"wrote {file}", err=True)


def _check(file: Path) -> None:
    """Raise ConfigError for a file that cannot be written, before anything is drawn."""
    if not file.is_dir() and file.suffix.lower() not in _FORMATS:
        raise ConfigError(f"--output: {file} has none of the endings {', '.join(_FORMATS)}: give it one")
    writable(file, "--output")
