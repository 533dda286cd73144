"""`lisa data check`: every broken sample of a dataset."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lisa_core.cli.data_options import Data, Format, Json, Splits, bar
from lisa_core.cli.files import writable, write
from lisa_core.errors import ConfigError
from lisa_core.formats import AUTO

if TYPE_CHECKING:
    from rich.console import Console

    from lisa_core.inspection import CheckResult


def check(
    directory: Data,
    format: Format = AUTO,
    split: Splits = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Leave out this kind of fault; may be repeated.", show_default=False),
    ] = None,
    show: Annotated[int, typer.Option(min=0, help="Faults of each kind to show.")] = 5,
    workers: Annotated[int, typer.Option(min=0, help="Processes that decode; 0: this one.")] = 0,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also write the JSON, with all faults, to this file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Find every broken sample: read all annotations, decode all pictures, paint all masks. Exit code 1 if one is.

      lisa data check my_data --output faults.json

      lisa data check refer_seg/refcoco --format refcoco --split testA

    Found are files that are missing, corrupt, or lead out of the folder; polygons, run lengths and masks that do not
    fit; empty texts; ids given twice; pictures that two splits share, told by their pixels; pickles with programs,
    which are not run. docs/data.md lists the kinds.
    """
    from rich.console import Console

    from lisa_core.inspection import KINDS, check_dataset

    for kind in ignore or ():
        if kind not in KINDS:
            raise ConfigError(f"--ignore {kind}: there is no such kind of fault: it is one of {', '.join(KINDS)}")
    writable(output, "--output")
    console = Console(stderr=True)
    with bar(console, "checking") as progress:
        result = check_dataset(directory, format, split, workers=workers, ignore=ignore or (), progress=progress)
    record = result.to_dict()
    if as_json:
        print(json.dumps(record))
    else:
        _print(result, show, Console())
    if output is not None:
        write(output, (json.dumps(record, indent=1) + "\n").encode(), "--output")
        console.print(f"written to {output}", markup=False, highlight=False, soft_wrap=True)
    if result.faults:
        raise typer.Exit(1)


def _print(result: CheckResult, show: int, console: Console) -> None:
    """The faults by kind, then how many of what there are."""
    from rich.table import Table

    from lisa_core.inspection import KINDS

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    for kind, count in result.counts.items():
        faults = [fault for fault in result.faults if fault.kind == kind]
        say(f"{kind}: {KINDS[kind]}")
        for fault in faults[:show]:
            others = f" ({len(fault.samples)} samples)" if len(fault.samples) > 1 else ""
            say(f"  {fault.message}{others}")
        if count > show:
            say(f"  and {count - show} more")
    if result.faults:
        table = Table("fault", "count", "samples", box=None, pad_edge=False)
        for column in table.columns[1:]:
            column.justify = "right"
        for kind, count in result.counts.items():
            hit = {(f.split, name) for f in result.faults if f.kind == kind for name in f.samples}
            table.add_row(kind, str(count), str(len(hit)) if hit else "-")
        console.print()
        console.print(table)
        console.print()
    read = "; ".join(
        f"{name}: {counts['samples']} samples about {counts['pictures']} pictures"
        for name, counts in result.splits.items()
    )
    number = len(result.faults)
    verdict = "no fault" if not number else "1 fault" if number == 1 else f"{number} faults"
    say(f"{result.data} ({result.format}): {read or 'nothing that could be read'}: {verdict}")
