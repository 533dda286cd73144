"""The figures of an evaluation as tables for a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lisa_core.summary import Estimate, Summary

_PERCENT = ("listening", "answered", "n_acc", "t_acc")


def print_table(summary: Summary, title: str, pairs: int) -> None:
    """Print all figures with their intervals, then gIoU and cIoU by group.

    Args:
        summary: the figures.
        title: what was evaluated.
        pairs: that the listening accuracy is over.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console()
    table = Table("measure", "value", "95% interval", title=Text(title), title_justify="left")
    rows = summary.rows()
    for name, (label, found) in rows.items():
        said = f"{label} ({pairs} pairs)" if name == "listening" else label
        table.add_row(said, _value(name, found.value), _interval(name, found))
    if "listening" not in rows:
        table.add_row("listening accuracy (0 pairs)", "no picture has two objects described", "")
    table.add_row("sentences", str(summary.whole.n), "")
    table.add_row("pictures", str(summary.whole.pictures), "")
    console.print(table)
    groups = Table("by", "group", "sentences", "gIoU", "95% interval", "cIoU")
    for by, parts in summary.breakdowns.items():
        if len(parts) < 2:
            continue
        for name, group in parts.items():
            giou, ciou = group.figures["giou"], group.figures["ciou"]
            cells = (str(group.n), f"{giou.value:.4f}", _interval("giou", giou), f"{ciou.value:.4f}")
            groups.add_row(by, Text(name), *cells)
        groups.add_section()
    if groups.row_count:
        console.print(groups)


def _value(name: str, value: float) -> str:
    return f"{100 * value:.1f}%" if name in _PERCENT else f"{value:.4f}"


def _interval(name: str, found: Estimate) -> str:
    if found.low is None or found.high is None:
        return ""
    return f"{_value(name, found.low)} to {_value(name, found.high)}"
