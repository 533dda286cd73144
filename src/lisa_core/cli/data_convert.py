"""`lisa data convert`: a dataset in another format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from lisa_core.cli.data_options import Data, Format, Json, Splits, bar
from lisa_core.formats import AUTO


def convert(
    directory: Data,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Folder to write; made when missing.", show_default=False)],
    to: Annotated[
        str,
        typer.Option(
            help="Format to write: jsonl, reasonseg, coco, refer (or refcoco), grefcoco, sa2va or labelme.",
            show_default=False,
        ),
    ],
    format: Format = AUTO,
    split: Splits = None,
    masks: Annotated[
        Literal["rle", "polygons", "png"] | None,
        typer.Option(help="How masks are written, where the format has a choice.", show_default="the format's usual"),
    ] = None,
    on_error: Annotated[
        Literal["fail", "skip"], typer.Option(help="A broken sample: stop and name it, or name it and leave it out.")
    ] = "fail",
    force: Annotated[
        bool, typer.Option("--force", help="Replace the dataset that an earlier conversion wrote to OUT.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a dataset in another format, pictures copied, masks exact to the pixel.

      lisa data convert refer_seg/refcoco mine --to jsonl

      lisa data convert mine mine_coco --to coco --masks polygons

    Polygons follow the pixels' edges, so that they lose nothing. What a format cannot hold (ignored pixels, samples
    without a target, further phrasings, answers) is counted and said. OUT is written whole or not at all.
    """
    from rich.console import Console

    from lisa_core.conversion import convert_dataset

    console = Console(stderr=True)

    def say(line: str) -> None:
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    with bar(console, "converting") as progress:
        result = convert_dataset(
            directory,
            out,
            to,
            format=format,
            splits=split,
            masks=masks,
            on_error=on_error,
            force=force,
            progress=progress,
        )
    for line in result.skipped:
        say(f"skipped: {line}")
    if as_json:
        print(json.dumps(result.to_dict()))
        return
    for what, count in result.lost.items():
        say(f"{result.format} cannot hold it: {count} {what}")
    for name, counts in result.splits.items():
        print(f"{name}: {counts['samples']} samples of {counts['targets']} targets")
    say(f"written to {out} ({result.format}, {result.masks})")
