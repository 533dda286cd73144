"""`lisa data`: make datasets, look through them, convert them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lisa_core.cli.data_check import check
from lisa_core.cli.data_convert import convert
from lisa_core.cli.data_info import info
from lisa_core.cli.data_view import view

if TYPE_CHECKING:
    from rich.console import Console

_SUMMARY = "Datasets: what they hold, what is broken in them, other formats, made-up scenes."

app = typer.Typer(name="data", help=_SUMMARY, no_args_is_help=True)


@app.callback()
def data() -> None:
    """Datasets: what they hold, what is broken in them, other formats, made-up scenes."""


app.command("info")(info)
app.command("check")(check)
app.command("convert")(convert)
app.command("view")(view)


@app.command("synth")
def synth(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to write to; made when missing.")],
    train: Annotated[int, typer.Option(help="Training pictures.")] = 1200,
    val: Annotated[int, typer.Option(help="Validation pictures.")] = 240,
    test: Annotated[int, typer.Option(help="Test pictures, each with a colour-shape pair training never shows.")] = 240,
    size: Annotated[int, typer.Option(help="Longest side in pixels.")] = 160,
    seed: Annotated[int, typer.Option(help="Same seed and settings: same files, byte for byte.")] = 0,
    min_objects: Annotated[int, typer.Option(help="Fewest objects in a picture.")] = 3,
    comparing: Annotated[
        float, typer.Option(help="Share of the sentences that compare objects: the largest, the leftmost, left of ...")
    ] = 0.2,
    max_objects: Annotated[int, typer.Option(help="Most objects in a picture, at most 6.")] = 4,
    force: Annotated[
        bool, typer.Option("--force", help="Replace the scenes that an earlier run wrote to DIR.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON and nothing else on stdout.")
    ] = False,
) -> None:
    """Draw scenes of coloured shapes, with sentences that each name one of them, as a dataset in ReasonSeg layout.

    The sentences use attributes (the striped star), superlatives (the largest circle), positions (the leftmost heart)
    and relations (the square left of the red circle); each is true of exactly one object, often by two words together.

      lisa data synth shapes --train 300 --val 60 --test 60

      lisa train --vlm smolvlm --vlm-model-name tiny --data shapes --output-dir runs/shapes --num-epochs 1

    Written are DIR/train, DIR/val and DIR/test with pairs scene_00012_0.jpg + scene_00012_0.json, one pair per
    described object (the pictures of a scene are equal), and DIR/synth.json with settings, counts and a content hash.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from lisa_core.data.synth import SynthConfig, synthesize

    config = SynthConfig(
        train=train,
        val=val,
        test=test,
        size=size,
        seed=seed,
        min_objects=min_objects,
        max_objects=max_objects,
        comparing=comparing,
    )
    columns = TextColumn("drawing scenes"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("drawing", total=None)
        summary = synthesize(
            directory, config, force=force, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    if as_json:
        print(json.dumps(summary))
    else:
        _print_summary(directory, summary, Console())


def _print_summary(directory: Path, summary: dict[str, Any], console: Console) -> None:
    from rich.table import Table

    table = Table("split", "pictures", "described objects", "sentences", box=None, pad_edge=False)
    for split, counts in summary["counts"].items():
        table.add_row(split, *(str(counts[name]) for name in ("images", "annotations", "texts")))
    console.print(table)
    line = f"written to {directory}, sha256 {summary['sha256'][:16]}; the test split's own pairs: "
    console.print(line + ", ".join(summary["held_out"]), markup=False, highlight=False, soft_wrap=True)
