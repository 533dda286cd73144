"""`lisa plugins check`: the conformance kit for people without a test suite."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lisa_core.errors import ConfigError

_MARKS = {"passed": "[green]✓[/]", "failed": "[red]✗[/]", "not applicable": "[dim]-[/]"}


def check(
    name: Annotated[str, typer.Argument(help="VLM family, as `lisa plugins` lists it.", metavar="NAME")],
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write the results to this file: .html or .json.")
    ] = None,
) -> None:
    """Check whether a family's adapter does what the VLM protocol says, on its tiny model; exit code 1 if not.

    The same checks run under pytest by subclassing lisa_core.testing.VLMSuite.
    """
    if report is not None and report.suffix not in (".html", ".json"):
        raise ConfigError(f"--report {report}: give a name that ends in .html or .json")

    from rich.console import Console
    from rich.markup import escape
    from transformers.utils import logging as hf_logging

    from lisa_core.testing import Result, run_checks, write_report

    hf_logging.disable_progress_bar()
    console = Console()

    def tell(result: Result) -> None:
        console.print(f"{_MARKS[result.status]} {escape(result.title)}", highlight=False, soft_wrap=True)
        if result.message:
            style = "red" if result.status == "failed" else "dim"
            console.print(f"    {escape(result.message)}", style=style, highlight=False, soft_wrap=True)
        if result.mend:
            console.print(f"    to mend it: {escape(result.mend)}", highlight=False, soft_wrap=True)

    results = run_checks(name, tell=tell)
    count = {status: sum(result.status == status for result in results) for status in _MARKS}
    seconds = sum(result.seconds for result in results)
    console.print(
        f"{name}: {count['passed']} passed, {count['failed']} failed, {count['not applicable']} not applicable "
        f"in {seconds:.0f} s",
        highlight=False,
    )
    if report is not None:
        write_report(report, name, results)
        console.print(f"report: {report}", highlight=False)
    if count["failed"]:
        raise typer.Exit(1)
