"""`lisa plugins`: what is installed, what works, and why the rest does not; tools for those who write one."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lisa_core.cli.check import check
from lisa_core.cli.new import new

if TYPE_CHECKING:
    from lisa_core.registry import PluginRecord, Registry

app = typer.Typer(help="List the installed plugins; check one, or start a new one.")
app.command("check")(check)
app.command("new")(new)

_STYLES = {"ok": "green", "deselected": "dim", "unsupported": "yellow"}


@app.callback(invoke_without_command=True)
def plugins(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON: a list with one object per plugin.")] = False,
) -> None:
    """List the installed plugins with the VLM families and dataset formats they bring."""
    if ctx.invoked_subcommand is not None:
        return

    from lisa_core.registry import get_registry

    registry = get_registry()
    for name in registry.unknown_selection:
        print(f"lisa: warning: LISA_PLUGINS names {name!r}, which is not installed", file=sys.stderr)
    if as_json:
        print(json.dumps([asdict(record) for record in registry.plugins], indent=2))
    else:
        _print_table(registry)


def _print_table(registry: Registry) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table("plugin", "package", "offers", "status", "about", box=None, pad_edge=False)
    for record in registry.plugins:
        status = Text(record.status, style=_STYLES.get(record.status, "red"))
        for offer, about in _offers(registry, record) or [("", "see below")]:
            table.add_row(Text(record.name), Text(record.package), Text(offer), status, Text(about))
    console = Console()
    console.print(table)
    for record in registry.plugins:
        if record.error:  # below the table and unwrapped, so that its pip line can be copied
            line = Text(f"\n{record.name} ({record.package}) is {record.status}: {record.error}")
            console.print(line, soft_wrap=True)


def _offers(registry: Registry, record: PluginRecord) -> list[tuple[str, str]]:
    """Name and summary of everything the plugin claims; what cannot be used has no summary."""
    offers = []
    for names, table in ((record.families, registry.vlms), (record.datasets, registry.datasets)):
        for name in names:
            entry = table.get(name)
            offers.append((name, entry.spec.summary if entry is not None else "see below"))
    return offers
