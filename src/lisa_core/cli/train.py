"""`lisa train`: a config from flags, a run with a progress bar."""

from __future__ import annotations

import dataclasses
from typing import Any

import typer
from typer.core import TyperCommand

from lisa_core.cli.options import train_options
from lisa_core.config import TrainConfig
from lisa_core.errors import PluginError
from lisa_core.families import option_line, resolve_family
from lisa_core.model_config import AUTO

_ARGS: list[str] = []
"""The command line of this process's `lisa train`, to start further processes with."""


class TrainCommand(TyperCommand):
    """`lisa train`, whose help also lists the options of the family that `--vlm` names."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Note the family first: `--help` ends the parsing before other options are looked at."""
        ctx.meta[__name__] = _family_in(args)
        _ARGS[:] = args
        return super().parse_args(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the help page, and a panel with the family's options below it."""
        super().format_help(ctx, formatter)
        family = ctx.meta.get(__name__)
        if family not in (None, AUTO):
            _print_family_options(family)


def _family_in(args: list[str]) -> str | None:
    """The value of the last `--vlm` among the arguments."""
    family = None
    for argument, following in zip(args, [*args[1:], ""]):
        if argument == "--vlm":
            family = following
        elif argument.startswith("--vlm="):
            family = argument.partition("=")[2]
    return family


def _print_family_options(family: str) -> None:
    from rich.console import Console
    from rich.panel import Panel
    from rich.text import Text

    from lisa_core.registry import get_registry

    try:
        lines = [option_line(option) for option in get_registry().vlm_spec(family).options]
    except PluginError as error:  # whoever asks for help is helped, the family's name being wrong or not
        lines = [str(error)]
    text = Text("\n".join(lines or ["This family has none."]))
    Console().print(Panel(text, title=f"--vlm-option, for --vlm {family}", title_align="left", border_style="dim"))


@train_options
def train(config: TrainConfig) -> None:
    """Train a segmenter on a dataset, in any of the formats that `lisa plugins` lists.

    Try the whole path first, in two minutes and without any download:

      lisa data synth shapes

      lisa train --vlm smolvlm --vlm-model-name tiny --data shapes --output-dir runs/shapes --num-epochs 1

    Then your own: --vlm-model-name takes a hub name or a local folder, --data your pictures and outlines. With --vlm
    FAMILY before it, --help also lists the options of that family.
    """
    # Before torch is imported: a wrong flag, or a model of no family, should not take seconds to hear of.
    config.validate()
    config = dataclasses.replace(config, model=resolve_family(config.model))

    from lisa_core.launch import launch, must_launch

    if must_launch(config):
        raise typer.Exit(launch(config, _ARGS))

    from lisa_core.progress import RichReporter
    from lisa_core.trainer import Trainer

    reporter = RichReporter()
    trainer = Trainer(config, reporter)
    try:
        result = trainer.run()
    finally:
        reporter.stop()
    if not trainer.processes.is_main:
        return
    reporter.line(
        f"best val gIoU {result.giou:.4f}; checkpoints, metrics.jsonl and config.json are in {trainer.output}"
    )
    reporter.line(f'next: lisa segment {trainer.output} IMAGE "what to segment"')
