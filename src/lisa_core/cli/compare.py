"""`lisa compare`: two evaluations of the same sentences, and whether they differ by more than chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lisa_core.config import existing_data
from lisa_core.errors import ConfigError
from lisa_core.formats import AUTO
from lisa_core.mixing import parse_sources
from lisa_core.user_path import user_path

if TYPE_CHECKING:
    from lisa_core.data import SegmentationDataset
    from lisa_core.evaluation_comparison import EvaluationComparison
    from lisa_core.predictions import SavedMask
    from lisa_core.records import SampleRecord


def compare(
    a: Annotated[
        Path, typer.Argument(metavar="A", help="What `lisa eval` wrote, a run's folder, or X.jsonl of masks.")
    ],
    b: Annotated[Path, typer.Argument(metavar="B", help="The same of the other; differences are B - A.")],
    data: Annotated[
        str | None, typer.Option(help="Folder of the data, or several, A||B; needed for files of masks.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which split.")] = "val",
    data_format: Annotated[str, typer.Option(help="Format of the data; auto: told by the folder.")] = AUTO,
    common: Annotated[
        bool, typer.Option("--common", help="Compare the sentences that both have, if they are not the same.")
    ] = False,
    epsilon: Annotated[
        float | None,
        typer.Option(min=0, help="Also compare gIoU with this added to each union; LISA's code adds 1e-5."),
    ] = None,
    no_target_pixels: Annotated[
        int,
        typer.Option(
            min=1, help='N-acc, T-acc and gRefCOCO\'s gIoU take a mask with fewer pixels for "there is none".'
        ),
    ] = 1,
    resamples: Annotated[int, typer.Option(min=0, help="Bootstrap resamples for the intervals; 0: none.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    changed: Annotated[int, typer.Option(min=0, help="How many of the sentences that changed most are shown.")] = 10,
    report: Annotated[
        Path | None,
        typer.Option(help="Write an HTML report: X.html or a folder; with pictures if A and B are files of masks."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else on stdout.")] = False,
) -> None:
    """Compare two evaluations: every figure's difference with its interval (paired bootstrap over pictures).

      lisa compare runs/a runs/b

      lisa compare a.json b.json --report difference.html

      lisa compare ours.jsonl theirs.jsonl --data my_data --split val

    An interval that leaves out 0 is a difference that other pictures of the same kind would show too, at 95%. Both have
    to be over the same sentences.
    """
    sources = () if data is None else parse_sources(data, data_format=data_format)
    for source in sources:
        existing_data(source.data)
    if report is not None:
        from lisa_core.html_page import check_report

        check_report(report)

    from lisa_core.evaluation_comparison import compare_evaluations
    from lisa_core.summary import Settings

    dataset: SegmentationDataset | None = None
    if sources:
        from lisa_core.data.sources import open_evaluated

        dataset = open_evaluated(sources, split, "all")
    (first, masks_a, protocol_a), (second, masks_b, protocol_b) = (_read(path, split, dataset) for path in (a, b))
    notes = []
    if protocol_a != protocol_b:
        notes.append(f"A was evaluated {protocol_a}, B {protocol_b}: that is part of the difference")
        typer.echo(f"note: {notes[0]}", err=True)
    settings = Settings(epsilon, no_target_pixels, resamples, seed)
    comparison = compare_evaluations(first, second, settings, common)
    if as_json:
        print(json.dumps({"a": str(a), "b": str(b), **comparison.to_dict(changed)}, indent=2))
    else:
        _print(comparison, changed)
    if report is not None:
        from lisa_core.html_comparison import write_comparison

        masks = None if masks_a is None or masks_b is None else (masks_a, masks_b)
        file = write_comparison(report, comparison, (str(a), str(b)), changed, dataset, masks, notes)
        typer.echo(f"written to {file}", err=True)


def _read(
    path: Path, split: str, dataset: SegmentationDataset | None
) -> tuple[list[SampleRecord], dict[str, SavedMask] | None, str]:
    """The sentences of one side, its masks if they are at hand, and how they were drawn."""
    if path.suffix != ".jsonl":
        from lisa_core.evaluation_file import how_drawn, read_evaluation

        stored = read_evaluation(user_path(path), split)
        return stored.records, None, how_drawn(stored.about) or "from a file of masks"
    if dataset is None:
        raise ConfigError(f"{path} holds masks, so the truth is needed too: give --data and --split")
    from lisa_core.predictions import read_predictions
    from lisa_core.scored_predictions import evaluate_predictions

    masks = read_predictions(path)
    return evaluate_predictions(dataset, masks, only=masks).records, masks, "from a file of masks"


def _print(comparison: EvaluationComparison, changed: int) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from lisa_core.evaluation_comparison import verdict

    console = Console()
    table = Table("measure", "A", "B", "B - A", "95% interval", "")
    groups = Table("by", "group", "sentences", "gIoU of A", "of B", "B - A", "95% interval")
    for name, (label, found) in comparison.whole.rows().items():
        said = verdict(name, found)
        style = {"B better": "green", "A better": "red"}.get(said, "")
        interval = "" if found.low is None else f"{found.low:+.4f} to {found.high:+.4f}"
        cells = (f"{found.a:.4f}", f"{found.b:.4f}", f"{found.difference:+.4f}", interval)
        table.add_row(label, *cells, Text(said, style))
    console.print(table)
    for by, parts in comparison.breakdowns.items():
        for name, group in parts.items() if len(parts) > 1 else ():
            found = group.figures["giou"]
            interval = "" if found.low is None else f"{found.low:+.4f} to {found.high:+.4f}"
            cells = (f"{found.a:.4f}", f"{found.b:.4f}", f"{found.difference:+.4f}", interval)
            groups.add_row(by, Text(name), str(group.n), *cells)
        groups.add_section()
    if groups.row_count:
        console.print(groups)
    moved = [(x, y) for x, y in comparison.pairs[:changed] if x.iou != y.iou]
    if moved:
        most = Table("changed most", "id", "IoU of A", "of B")
        for x, y in moved:
            most.add_row(Text(x.text), Text(x.id), f"{x.iou:.4f}", f"{y.iou:.4f}")
        console.print(most)
    sentences = f"{comparison.whole.n} sentences about {comparison.whole.pictures} pictures"
    left_out = comparison.left_out
    rest = f"; left out: {left_out[0]} only in A, {left_out[1]} only in B" if any(left_out) else ""
    console.print(f"{sentences}{rest}", highlight=False)
