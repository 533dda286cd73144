"""The `lisa` command. Errors a user can mend are one line on stderr and exit code 2; a crash is a traceback and 1.

The command modules import torch and transformers inside their functions only, so that `--help` stays quick.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lisa_core.cli.compare import compare
from lisa_core.cli.config import app as config
from lisa_core.cli.data import app as data
from lisa_core.cli.demo import demo
from lisa_core.cli.estimate import estimate
from lisa_core.cli.eval import evaluate
from lisa_core.cli.export import export
from lisa_core.cli.hub import pull, push
from lisa_core.cli.merge import merge
from lisa_core.cli.models import models
from lisa_core.cli.options import with_dashes
from lisa_core.cli.plot import plot
from lisa_core.cli.plugins import app as plugins
from lisa_core.cli.runs import runs
from lisa_core.cli.segment import segment
from lisa_core.cli.train import TrainCommand, train
from lisa_core.errors import LisaError
from lisa_core.process_end import end_by_exit_code

INTERRUPTED = 130
"""Exit code after Ctrl-C, as shells report it: 128 + SIGINT."""


class LisaGroup(TyperGroup):
    """A group of commands whose user errors, bad options included, come out as one line."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options that stand before the command; all flags may be written with underscores."""
        args = with_dashes(args)
        with _one_line_errors(debug=False):
            return super().parse_args(ctx, args)

    def invoke(self, ctx: Any) -> Any:
        """Parse and run the command."""
        with _one_line_errors(debug=bool(ctx.params.get("debug"))):
            result = super().invoke(ctx)
        if "LOCAL_RANK" in os.environ:  # not after an error: other processes may still be waiting for this one
            from lisa_core.processes import leave_group

            leave_group()
        return result


@contextmanager
def _one_line_errors(debug: bool) -> Iterator[None]:
    try:
        yield
    except LisaError as error:
        if debug:
            raise
        _fail(str(error), getattr(error, "exit_code", 2))
    except KeyboardInterrupt:
        if debug:
            raise
        _fail("interrupted", INTERRUPTED)
    except Exception as error:
        # Usage errors are known by their shape: typer bundles click or depends on it, as its version goes. The one
        # that asks for the help page is left to typer.
        if not hasattr(error, "format_message") or type(error).__name__ == "NoArgsIsHelpError":
            raise
        context = getattr(error, "ctx", None)
        hint = f" (see `{context.command_path} --help`)" if context is not None else ""
        _fail(f"{error.format_message()}{hint}", getattr(error, "exit_code", 2))


def _fail(message: str, code: int) -> None:
    print("lisa: error:", *message.split(), file=sys.stderr)
    raise typer.Exit(code)


app = typer.Typer(
    name="lisa",
    cls=LisaGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,  # a crash shows Python's own traceback, complete and without local values
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from lisa_core import __version__

        print(f"lisa {__version__}")
        raise typer.Exit()


@app.callback()
def lisa(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error instead of one line.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Segment what a sentence names in an image, with any vision-language model."""


app.command("train", cls=TrainCommand)(train)
app.command("estimate")(estimate)
app.command("eval")(evaluate)
app.command("compare")(compare)
app.command("segment")(segment)
app.command("demo")(demo)
app.command("merge")(merge)
app.command("export")(export)
app.command("push")(push)
app.command("pull")(pull)
app.add_typer(config, name="config")
app.add_typer(data, name="data")
app.command("models")(models)
app.command("runs")(runs)
app.command("plot")(plot)
app.add_typer(plugins, name="plugins")


def main() -> None:
    """Run the command line; the console script `lisa` and `python -m lisa_core` start here."""
    # accelerate imports bitsandbytes if it is there, which then complains on every machine without CUDA.
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    end_by_exit_code(app)
