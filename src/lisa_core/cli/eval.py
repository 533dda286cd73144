"""`lisa eval`: the figures of a checkpoint on one split of a dataset, as a table and as JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from lisa_core.config import existing_folder
from lisa_core.errors import ConfigError

if TYPE_CHECKING:
    from lisa_core.evaluator import EvaluationResult


def evaluate(
    checkpoint: Annotated[str, typer.Argument(metavar="CKPT", help="Checkpoint or run folder (its best checkpoint).")],
    data: Annotated[str, typer.Option(help="Folder in ReasonSeg layout.")],
    split: Annotated[str, typer.Option(help="Which split: DIR/SPLIT or DIR/SPLIT.json.")] = "val",
    phrasings: Annotated[
        Literal["first", "all"], typer.Option(help="first: one sentence per target, as LISA does. all: every phrasing.")
    ] = "first",
    batch_size: Annotated[int, typer.Option(min=1, help="Sentences a step.")] = 16,
    max_samples: Annotated[int | None, typer.Option(min=1, help="Only the first so many sentences.")] = None,
    blank: Annotated[
        bool, typer.Option(help="Also draw masks for blanked sentences, to see what the words are worth.")
    ] = True,
    on_error: Annotated[
        Literal["fail", "skip"], typer.Option(help="A corrupt sample: stop and name it, or name it and go on.")
    ] = "fail",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Where to write the JSON; default: CKPT/eval_SPLIT.json.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the JSON and nothing else on stdout.")] = False,
) -> None:
    """Evaluate a checkpoint: gIoU, cIoU, P@k at the pictures' own size, and whether it listens.

    gIoU is the mean of the masks' IoU, cIoU the summed intersection over the summed union. Listening accuracy is the
    share of sentence pairs of one picture in which a sentence's mask fits its own object better than the other's.
    """
    root = existing_folder(data, "data folder")
    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"--output: the folder {output.parent} does not exist")
    if output is not None and output.is_dir():
        raise ConfigError(f"--output: {output} is a folder, give the name of a file")

    from rich.console import Console
    from rich.progress import Progress

    from lisa_core.data import open_dataset
    from lisa_core.evaluator import evaluate as run_evaluation
    from lisa_core.segmenter import Segmenter

    segmenter = Segmenter.load(checkpoint, device)
    dataset = open_dataset(root, split, phrasings, on_error=on_error)
    console = Console(stderr=True)
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("evaluating", total=len(dataset.samples[:max_samples]))
        result = run_evaluation(
            segmenter.model,
            dataset,
            segmenter.collator,
            batch_size=batch_size,
            max_samples=max_samples,
            on_error=on_error,
            blank=blank,
            on_progress=lambda count: bar.advance(task, count),
        )
    for line in [reason for _, reason in dataset.skipped] + result.skipped:
        console.print(f"skipped: {line}", markup=False, highlight=False, soft_wrap=True)
    record = {"checkpoint": checkpoint, "data": data, "split": split, "phrasings": phrasings, **result.to_dict()}
    record["skipped"] += len(dataset.skipped)
    text = json.dumps(record) + "\n"
    if as_json:
        print(text, end="")
    else:
        _print_table(result, f"{checkpoint} on {data}, split {split}")
    path = output or Path(checkpoint).expanduser() / f"eval_{split.replace('/', '_')}.json"
    # After printing: figures that took hours are not lost to a folder that cannot be written.
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
    except OSError as error:
        raise ConfigError(f"cannot write {path} ({error.strerror or error}): choose another --output") from error
    if not as_json:
        console.print(f"written to {path}", markup=False, highlight=False, soft_wrap=True)


def _print_table(result: EvaluationResult, title: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("measure", "value", title=title, title_justify="left")
    table.add_row("gIoU", f"{result.giou:.4f}")
    table.add_row("cIoU", f"{result.metrics.ciou:.4f}")
    for threshold, share in result.metrics.precision.items():
        table.add_row(f"P@{threshold}", f"{share:.4f}")
    listening = "no picture has two objects described" if result.listening is None else f"{100 * result.listening:.1f}%"
    table.add_row(f"listening accuracy ({result.pairs} pairs)", listening)
    if result.blank_giou is not None:
        table.add_row("gIoU, sentence blanked", f"{result.blank_giou:.4f}")
    for name, giou in result.baselines.items():
        table.add_row(f"gIoU, always the {name.replace('_', ' ')}", f"{giou:.4f}")
    table.add_row("sentences", str(result.metrics.n))
    Console().print(table)
