"""`lisa estimate`: the memory of a run before anything is downloaded."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from lisa_core.cli.options import train_options
from lisa_core.config import TrainConfig
from lisa_core.errors import ConfigError

if TYPE_CHECKING:
    from lisa_core.estimate import Estimate


@train_options
def estimate(
    config: TrainConfig,
    fit: Annotated[
        str | None,
        typer.Option("--fit", help="Memory of the GPU (8gb, 24GiB): find settings that fit, starting from these."),
    ] = None,
    inference: Annotated[
        bool, typer.Option("--inference", help="What segmenting takes, with the same batch, instead of training.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")] = False,
) -> None:
    """Tell the peak memory of a run, part by part, from its settings alone: no weights, no data, no GPU.

      lisa estimate --vlm-model-name llava-hf/llava-1.5-7b-hf --vlm-use-lora --batch-size 1

      lisa estimate --vlm-model-name llava-hf/llava-1.5-7b-hf --fit 16gb

    All flags of lisa train, --config and --preset are understood; --data need not be given. One step is run on tensors
    that have shapes but no numbers.
    """
    from rich.console import Console

    from lisa_core.estimate import estimate as foretell

    if fit is not None and inference:
        raise ConfigError("--fit is about training: leave --inference out")
    if fit is not None:
        _fit(config, fit, as_json)
        return
    with Console(stderr=True).status("running a step without numbers"):
        found = [(_title(config), foretell(config, training=not inference))]
        other = None if inference else _with_other_checkpointing(config)
        if other is not None:
            try:
                found.append((_title(other), foretell(other)))
            except ConfigError:  # of a family that cannot, there is nothing to compare with
                other = None
    if as_json:
        values = {"estimate": found[0][1].to_dict(), "training": not inference}
        if other is not None:
            key = (
                "with_gradient_checkpointing"
                if other.speed.gradient_checkpointing
                else "without_gradient_checkpointing"
            )
            values[key] = found[1][1].to_dict()
        print(json.dumps(values, indent=2))
        return
    _print(found)


def _with_other_checkpointing(config: TrainConfig) -> TrainConfig:
    speed = dataclasses.replace(config.speed, gradient_checkpointing=not config.speed.gradient_checkpointing)
    return dataclasses.replace(config, speed=speed)


def _title(config: TrainConfig) -> str:
    return f"{'with' if config.speed.gradient_checkpointing else 'without'}\ncheckpointing"


def _print(found: list[tuple[str, Estimate]]) -> None:
    from rich.console import Console
    from rich.table import Table

    unit, name = (1e9, "GB") if found[0][1].total >= 1e9 else (1e6, "MB")
    table = Table(name, *(title for title, _ in found), box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for label, values in _rows([one for _, one in found]):
        table.add_row(label, *(f"{value / unit:.2f}" for value in values))
    table.add_row(
        "[bold]total", *(f"[bold]{'' if one.is_complete else 'over '}{one.total / unit:.2f}" for _, one in found)
    )
    Console(width=100).print(table)
    first = found[0][1]
    print(f"\n{first.parameters:,} parameters, of which {first.trainable:,} train")
    for note in dict.fromkeys(note for _, one in found for note in one.notes):
        print(f"- {note}")


def _rows(found: list[Estimate]) -> Iterator[tuple[str, list[int]]]:
    from lisa_core.estimate import PARTS

    for name in PARTS:
        values = [int(getattr(one, name)) for one in found]
        if any(values):
            yield name.replace("_", " "), values


def _fit(config: TrainConfig, size: str, as_json: bool) -> None:
    from rich.console import Console

    from lisa_core.fit import Attempt, fit, parse_size, usable

    console, room = Console(stderr=True), parse_size(size)

    def tell(attempt: Attempt, fits: bool) -> None:
        verdict = "fits" if fits else "too much"
        line = f"{attempt.estimate.total / 1e9:8.2f} GB  {verdict:9} {attempt.flags or 'as asked for'}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    with console.status(f"looking for settings that leave {usable(room) / 1e9:.1f} of {room / 1e9:.1f} GB or more"):
        found = fit(config, room, tell)
    if as_json:
        values = {
            "flags": found.flags,
            "config": dataclasses.asdict(found.config),
            "estimate": found.estimate.to_dict(),
        }
        print(json.dumps({"usable": usable(room), **values}, indent=2))
        return
    print(f"add to your command: {found.flags}" if found.flags else "fits as it is")
