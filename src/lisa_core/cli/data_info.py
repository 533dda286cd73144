"""`lisa data info`: what a dataset holds, in figures and plots."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lisa_core.cli.data_options import Data, Format, Json, Splits, bar
from lisa_core.cli.files import write
from lisa_core.errors import ConfigError
from lisa_core.formats import AUTO

if TYPE_CHECKING:
    from rich.console import Console

    from lisa_core.inspection import DatasetFacts

_COUNTS = {
    "samples": "samples",
    "pictures": "pictures",
    "full_sentences": "full sentences",
    "answers": "with an answer",
    "without_target": "without a target",
    "with_ignored_pixels": "with ignored pixels",
    "broken": "broken",
}
_SPREADS = {
    "words": ("words of a text", "{:.0f}"),
    "samples_per_picture": ("samples of a picture", "{:.0f}"),
    "longest_side": ("longest side of a picture", "{:.0f}"),
    "mask_share": ("mask's share of its picture", "{:.2%}"),
}


def info(
    directory: Data,
    format: Format = AUTO,
    split: Splits = None,
    plots: Annotated[
        Path | None, typer.Option(help="Also draw the distributions as PNGs into this folder; needs matplotlib.")
    ] = None,
    max_pictures: Annotated[
        int | None,
        typer.Option(min=1, help="Measure sizes and masks on so many pictures of a split, drawn at random."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the draw.")] = 0,
    as_json: Json = False,
) -> None:
    """Count samples and pictures, and measure: picture sizes, words of the texts, mask areas.

    lisa data info my_data --plots plots

    lisa data info refer_seg/refcoco --split train --max-pictures 1000
    """
    if plots is not None and plots.exists() and not plots.is_dir():
        raise ConfigError(f"--plots: {plots} is a file, give the name of a folder")

    from rich.console import Console

    from lisa_core.inspection import describe_dataset

    if plots is not None:
        try:
            from lisa_core.inspection.plots import draw_facts
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != "matplotlib":
                raise
            raise ConfigError("--plots needs matplotlib: run `pip install 'lisa-core[plot]'`") from error
    console = Console(stderr=True)
    with bar(console, "measuring") as progress:
        facts = describe_dataset(directory, format, split, max_pictures=max_pictures, seed=seed, progress=progress)
    if as_json:
        print(json.dumps(facts.to_dict()))
    else:
        _print(facts, Console())
    if plots is not None:
        try:
            plots.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make {plots} ({error.strerror or error}): choose another --plots") from error
        for name, picture in draw_facts(facts).items():
            write(plots / f"{name}.png", picture, "--plots")
        console.print(f"plots written to {plots}", markup=False, highlight=False, soft_wrap=True)


def _print(facts: DatasetFacts, console: Console) -> None:
    from rich.table import Table

    said: dict[str, dict[str, Any]] = facts.to_dict()["splits"]
    console.print(f"{facts.data} ({facts.format})", markup=False, highlight=False, soft_wrap=True)
    table = Table("", *said, box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, label in _COUNTS.items():
        if name in ("samples", "pictures") or any(split[name] for split in said.values()):
            table.add_row(label, *(str(split[name]) for split in said.values()))
    console.print(table)
    for split, figures in said.items():
        spreads = {name: figures[name] for name in _SPREADS if figures[name] is not None}
        if spreads:
            console.print()
            heads = [name for name in next(iter(spreads.values())) if name != "mean"]
            table = Table(split, *heads, "mean", box=None, pad_edge=False)
            for column in table.columns[1:]:
                column.justify = "right"
            for name, values in spreads.items():
                label, form = _SPREADS[name]
                mean = form if "%" in form else "{:.1f}"
                table.add_row(label, *(form.format(values[head]) for head in heads), mean.format(values["mean"]))
            console.print(table)
            common = ", ".join(f"{size['width']} x {size['height']} ({size['pictures']})" for size in figures["sizes"])
            more = figures["different_sizes"] - len(figures["sizes"])
            console.print(f"sizes: {common}" + (f" and {more} others" if more > 0 else ""), highlight=False)
            if figures["measured"] + figures["broken"] < figures["samples"]:
                console.print(f"masks measured of {figures['measured']} samples", highlight=False)
    if any(split["broken"] for split in said.values()):
        console.print("\n`lisa data check` says what is broken.", markup=False, highlight=False)
