"""`lisa runs`: the runs there are, or some of them side by side."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lisa_core.errors import ConfigError
from lisa_core.run_history import Sort

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from lisa_core.run_comparison import Comparison
    from lisa_core.run_history import Run

_HERE = Path("runs")
_MORE_IS_BETTER = ("giou", "ciou", "listening", "sentences_per_second", "precision")
_LESS_IS_BETTER = ("loss", "seconds", "peak_memory_bytes")
_COUNTS = ("epoch", "epochs", "steps", "left_out_steps", "n", "listening_pairs", "skipped")
_DISPENSABLE = ("started", "memory", "sent./s", "epoch", "test gIoU", "trains", "listening")
_WIDE = 10_000


def runs(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="PATHS", help="Folders of runs, or folders that hold some.", show_default="./runs"),
    ] = None,
    sort: Annotated[
        Sort | None,
        typer.Option(
            help="Best validation gIoU or cIoU first, last started first, or by name; default: gIoU, with --compare "
            "the order of PATHS."
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show the settings that differ and all figures side by side.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")] = False,
) -> None:
    """List training runs, finished or not, the best first; or compare some.

      lisa runs                           (all at or below ./runs)

      lisa runs runs/a runs/b --compare   (what was set differently, and what came of it)

      lisa runs old new --sort started --json

    Figures are those of the epoch with the best validation gIoU, whose weights are in RUN/best. They can be compared
    between runs that were validated on the same data. `lisa plot RUN...` draws the curves.
    """
    from lisa_core.run_comparison import compare as compare_runs
    from lisa_core.run_history import find_runs, read_runs, sorted_runs

    if not paths and not _HERE.is_dir():
        raise ConfigError(f"there is no folder {_HERE} here: say where your runs are, `lisa runs PATH`")
    found, faults = read_runs(find_runs(paths or [_HERE]))
    if not found:
        raise ConfigError(next(iter(faults.values())))
    if not compare or sort is not None:
        found = sorted_runs(found, sort or "gIoU")
    comparison = compare_runs(found) if compare else None
    if as_json:
        record = {"runs": [run.to_dict() for run in found]} if comparison is None else comparison.to_dict()
        record["unreadable"] = [{"path": str(path), "reason": reason} for path, reason in faults.items()]
        print(json.dumps(record, indent=2))
        return
    _print_list(found) if comparison is None else _print_side_by_side(comparison)
    for run in found:
        for note in run.log.notes():
            typer.echo(f"{run.path}: {note}", err=True)
    for reason in faults.values():
        typer.echo(f"left out: {reason}", err=True)


def _print_list(found: list[Run]) -> None:
    """The table, in a narrow terminal without the columns that can best be done without."""
    from rich.console import Console

    console = Console()
    omitted: list[str] = []
    table = _list(found, omitted)
    if console.is_terminal:
        for name in _DISPENSABLE:
            if console.measure(table, options=console.options.update(max_width=_WIDE)).maximum <= console.width:
                break
            omitted.append(name)
            table = _list(found, omitted)
    _print(console, table)
    if omitted:
        typer.echo(f"not shown, for want of width: {', '.join(omitted)}", err=True)


def _print(console: Console, table: Table) -> None:
    """Print a table; in a file or a pipe no line has to be broken for want of width."""
    if not console.is_terminal:
        console.width = max(console.measure(table, options=console.options.update(max_width=_WIDE)).maximum, 1)
    console.print(table)


def _list(found: list[Run], omitted: list[str]) -> Table:
    from rich import box
    from rich.table import Table

    columns: dict[str, list[str]] = {
        "run": [str(run.path) for run in found],
        "model": [" ".join(filter(None, [run.family, run.model])) for run in found],
        "trains": [run.trains for run in found],
        "state": [_state(run) for run in found],
        "gIoU": [_share(_val(run).get("giou")) for run in found],
        "epoch": [str(run.best["epoch"]) if run.best is not None else "-" for run in found],
        "cIoU": [_share(_val(run).get("ciou")) for run in found],
        "listening": [_percent(_val(run).get("listening")) for run in found],
        "test gIoU": [_share((run.log.test or {}).get("giou")) for run in found],
        "sent./s": ["-" if (rate := run.sentences_per_second) is None else f"{rate:.1f}" for run in found],
        "memory": ["-" if (held := run.peak_memory_bytes) is None else f"{held / 1e9:.2f} GB" for run in found],
        "started": ["-" if (at := run.started) is None else f"{at.astimezone():%Y-%m-%d %H:%M}" for run in found],
    }
    if not any(run.log.test for run in found):
        del columns["test gIoU"]
    for name in omitted:
        columns.pop(name, None)
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    for name in columns:
        # Paths and names are there to be copied: folded, never shortened.
        text = name in ("run", "model", "trains", "state", "started")
        table.add_column(name, justify="left" if text else "right", overflow="fold", no_wrap=not text)
    for row in zip(*columns.values()):
        table.add_row(*map(_text, row))
    return table


def _val(run: Run) -> dict[str, Any]:
    """The best validation's figures; empty without one."""
    return {} if run.best is None else run.best["val"]


def _state(run: Run) -> str:
    epochs = f"{run.epochs_done}/{run.epochs_planned or '?'}"
    if run.state == "finished":
        return f"finished {epochs}"
    return f"unfinished {epochs}, {_age(run.last_write, datetime.now(timezone.utc))}"


def _age(then: datetime, now: datetime) -> str:
    """How long ago, as people say it: `3 min ago`."""
    seconds = max((now - then).total_seconds(), 0.0)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{int(seconds)} s ago"


def _share(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else "-"


def _percent(value: Any) -> str:
    return f"{100 * value:.1f}%" if isinstance(value, float) else "-"


def _print_side_by_side(comparison: Comparison) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    table.add_column("", overflow="fold")
    for run in comparison.runs:
        table.add_column(_text(str(run.path)), overflow="fold")
    for setting, settings in comparison.settings.items():
        table.add_row(setting, *(_text("-" if value is None else _plain(value)) for value in settings))
    if not comparison.settings:
        table.add_row("all settings are the same")
    table.add_section()
    for name, values in comparison.metrics.items():
        cells = []
        for place, (value, change) in enumerate(zip(values, comparison.changes(name))):
            cell = Text("-" if value is None else _figure(name, value))
            if place and change is not None:
                cell.append(f" ({_figure(name, change, signed=True)})" if change else " (=)", _style(name, change))
            cells.append(cell)
        table.add_row(name, *cells)
    _print(Console(), table)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _figure(name: str, value: float, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if name == "peak_memory_bytes":
        return f"{value / 1e9:{sign}.2f} GB"
    if name in ("seconds", "sentences_per_second"):
        return f"{value:{sign}.1f}"
    return f"{value:{sign}.0f}" if name.rpartition(".")[2] in _COUNTS else f"{value:{sign}.4f}"


def _style(name: str, change: float) -> str:
    """Green for the better, red for the worse; none for what is neither."""
    words = name.split(".")
    better = change if any(word in _MORE_IS_BETTER for word in words) else -change
    known = any(word in (*_MORE_IS_BETTER, *_LESS_IS_BETTER) for word in words) and "baselines" not in words
    return "" if not known or change == 0 else "green" if better > 0 else "red"


def _text(value: str) -> Any:
    """The value as it is: rich takes `[` for markup."""
    from rich.text import Text

    return Text(value)
