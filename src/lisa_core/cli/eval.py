"""`lisa eval`: the figures of a checkpoint, or of masks in a file, on one split of a dataset."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from lisa_core.cli.files import writable
from lisa_core.cli.masks import FlipTest, MaskTemperature, draw_as_told
from lisa_core.config import existing_data
from lisa_core.errors import ConfigError
from lisa_core.formats import AUTO
from lisa_core.mixing import parse_sources
from lisa_core.user_path import user_path

if TYPE_CHECKING:
    from lisa_core.data import SegmentationDataset
    from lisa_core.evaluation import EvaluationResult
    from lisa_core.processes import Processes

_SEE = "(see `lisa eval --help`)"


def evaluate(
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="CKPT",
            help="Checkpoint, run folder (its best checkpoint), tiny (the packaged model), or ORG/NAME on the hub.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Folder of the data, or several, A||B, as in training.", show_default="required")
    ] = None,
    split: Annotated[str, typer.Option(help="Which split: DIR/SPLIT or DIR/SPLIT.json.")] = "val",
    data_format: Annotated[
        str, typer.Option(help="Format of the data; auto: told by the folder. Of several: one, or one each.")
    ] = AUTO,
    phrasings: Annotated[
        Literal["first", "all"], typer.Option(help="first: one sentence per target, as LISA does. all: every phrasing.")
    ] = "first",
    predictions: Annotated[
        Path | None,
        typer.Option(help="Score the masks of this file of JSON lines, by any tool, instead of a checkpoint's."),
    ] = None,
    protocol: Annotated[
        Literal["teacher-forced", "generated"],
        typer.Option(
            help="teacher-forced: the answer with [SEG] is given, as LISA evaluates. generated: the model has to write "
            "it, as Sa2VA does; no [SEG] is no mask."
        ),
    ] = "teacher-forced",
    max_new_tokens: Annotated[int, typer.Option(min=1, help="Longest generated answer, in tokens.")] = 32,
    mask_temperature: MaskTemperature = None,
    flip_test: FlipTest = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Sentences a step.")] = 16,
    max_samples: Annotated[int | None, typer.Option(min=1, help="Only the first so many sentences.")] = None,
    blank: Annotated[
        bool, typer.Option(help="Also draw masks for blanked sentences, to see what the words are worth.")
    ] = True,
    boundary: Annotated[bool, typer.Option(help="Also compare edges: boundary IoU.")] = True,
    epsilon: Annotated[
        float | None, typer.Option(min=0, help="Also report gIoU with this added to each union; LISA's code adds 1e-5.")
    ] = None,
    no_target_pixels: Annotated[
        int,
        typer.Option(
            min=1, help='N-acc, T-acc and gRefCOCO\'s gIoU take a mask with fewer pixels for "there is none".'
        ),
    ] = 1,
    resamples: Annotated[int, typer.Option(min=0, help="Bootstrap resamples for the intervals; 0: none.")] = 1000,
    seed: Annotated[int, typer.Option(min=0, help="Of the bootstrap.")] = 0,
    on_error: Annotated[
        Literal["fail", "skip"], typer.Option(help="A corrupt sample: stop and name it, or name it and go on.")
    ] = "fail",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    feature_cache: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which what the encoders make of pictures and sentences is kept for other evaluations; that "
            "of a training run whose encoders were frozen, in float32, has it already."
        ),
    ] = None,
    save_predictions: Annotated[
        Path | None, typer.Option(help="Write all masks to this file: JSON lines with COCO run lengths.")
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write an HTML report: X.html (all in one file), or a folder for index.html and images."),
    ] = None,
    report_samples: Annotated[
        int, typer.Option(min=0, help="How many of the best, the worst and random samples the report shows.")
    ] = 12,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Where to write the JSON; default: CKPT/eval_SPLIT.json (right here for tiny and models of the hub), "
            "for X.jsonl: X.eval_SPLIT.json; with --protocol generated, --phrasings all, --max-samples N, "
            "--mask-temperature T, --flip-test or --no-flip-test, these are in the name, too.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures' JSON and nothing else on stdout.")
    ] = False,
) -> None:
    """Evaluate a checkpoint, or masks in a file: gIoU, cIoU, P@k at the pictures' own size, and whether it listens.

      lisa eval runs/mine --data my_data --split val --report report.html

      lisa eval --predictions masks.jsonl --data my_data --split val

    gIoU is the mean of the masks' IoU, cIoU the summed intersection over the summed union. Listening accuracy is the
    share of sentence pairs of one picture in which a sentence's mask fits its own object better than the other's.
    docs/evaluation.md has every figure's formula. `lisa compare A B` compares two evaluations. Several processes share
    the work under a launcher: torchrun --standalone --nproc-per-node 2 -m lisa_core eval ...
    """
    if (checkpoint is None) == (predictions is None):
        if checkpoint is None:
            raise ConfigError(f"Missing argument 'CKPT', or --predictions FILE {_SEE}")
        raise ConfigError(f"CKPT draws masks and --predictions has some: give one of them {_SEE}")
    if data is None:
        raise ConfigError(f"Missing option '--data' {_SEE}")
    writable(output, "--output")
    if output is not None and output.is_file():
        _refuse_foreign(output)
    writable(save_predictions, "--save-predictions")
    if predictions is not None and mask_temperature is not None:
        raise ConfigError("--mask-temperature goes with CKPT: the masks of --predictions are cut already")
    if predictions is not None and flip_test is not None:
        raise ConfigError("--flip-test and --no-flip-test go with CKPT: the masks of --predictions are drawn already")
    if flip_test is not None and protocol == "generated":
        raise ConfigError(
            "--flip-test and --no-flip-test go with --protocol teacher-forced: what a model writes itself is drawn once"
        )
    if predictions is not None and feature_cache is not None:
        raise ConfigError("--feature-cache goes with CKPT: the masks of --predictions need no encoder")
    if predictions is not None and save_predictions is not None:
        raise ConfigError("--save-predictions goes with CKPT: the masks of --predictions are in a file already")
    sources = parse_sources(data, data_format=data_format)
    for source in sources:
        existing_data(source.data)
    if max_samples is not None and len(sources) > 1:
        raise ConfigError("--max-samples counts the sentences of one dataset: evaluate one, or leave it out")
    if report is not None:
        from lisa_core.html_page import check_report

        check_report(report)

    from rich.console import Console
    from rich.progress import Progress

    from lisa_core.cli.eval_table import print_table
    from lisa_core.data.sources import open_evaluated
    from lisa_core.evaluation_file import how_drawn, replaced, write_evaluation
    from lisa_core.summary import Settings, summarize

    processes: Processes | None = None
    if checkpoint is not None and "LOCAL_RANK" in os.environ:
        from lisa_core.processes import Processes

        processes = Processes(device)
    is_main = processes is None or processes.is_main
    if checkpoint is not None:
        from lisa_core.segmenter import Segmenter

        segmenter = Segmenter.load(checkpoint, device if processes is None else str(processes.device))
        draw_as_told(segmenter, mask_temperature, flip_test)
        if feature_cache is not None:
            segmenter.keep_features(feature_cache)

    console = Console(stderr=True)

    def say(line: str) -> None:
        if is_main:
            console.print(line, markup=False, highlight=False, soft_wrap=True)

    dataset = open_evaluated(sources, split, phrasings, on_error, say)
    options: dict[str, Any] = {"max_samples": max_samples, "on_error": on_error, "boundary": boundary}
    with Progress(console=console, transient=True, disable=not (is_main and console.is_terminal)) as bar:
        steps = bar.add_task("evaluating", total=len(dataset.samples[:max_samples]))
        shares = 1 if processes is None else processes.world_size
        options["on_progress"] = lambda count: bar.advance(steps, count * shares)
        if predictions is not None:
            result = _scored(dataset, predictions, options)
        else:
            from lisa_core.evaluator import evaluate as run_evaluation

            result = run_evaluation(
                segmenter.model,
                dataset,
                segmenter.collator,
                batch_size=batch_size,
                blank=blank,
                processes=processes,
                protocol=protocol,
                max_new_tokens=max_new_tokens,
                keep_masks=save_predictions is not None or report is not None,
                **options,
            )
    if not is_main:
        return
    for line in [reason for _, reason in dataset.skipped] + result.skipped:
        console.print(f"skipped: {line}", markup=False, highlight=False, soft_wrap=True)
    unanswered = _unanswered(result, predictions)
    if unanswered:
        console.print(unanswered, markup=False, highlight=False, soft_wrap=True)
    summary = summarize(result.records, Settings(epsilon, no_target_pixels, resamples, seed))
    about = {
        "checkpoint": checkpoint,
        "predictions": None if predictions is None else str(predictions),
        "data": data,
        "split": split,
        "phrasings": phrasings,
        "protocol": protocol if predictions is None else None,
        "mask_temperature": segmenter.model.config.mask_temperature if predictions is None else None,
        "flip_test": protocol == "teacher-forced" and segmenter.model.config.flip_test if predictions is None else None,
    }
    record = {**about, **result.to_dict(), "unanswered": len(result.unanswered), **summary.to_dict()}
    record["skipped"] += len(dataset.skipped)
    if as_json:
        print(json.dumps(record))
    else:
        drawn_by = f"{predictions}" if predictions is not None else f"{checkpoint} ({how_drawn(about)})"
        print_table(summary, f"{drawn_by} on {data}, split {split}", result.pairs)
    # After printing: figures that took hours are not lost to a folder that cannot be written.
    first = max_samples if max_samples is not None and max_samples < len(dataset.samples) else None
    path = output or _default_output(
        checkpoint, predictions, split, protocol, phrasings, first, mask_temperature, flip_test
    )

    def write_figures() -> Path:
        lost = replaced(path, record, result.records)
        file = write_evaluation(path, record, result.records)
        if lost is not None:
            note = f"note: {path} held {lost}, which is replaced"
            console.print(note, markup=False, highlight=False, soft_wrap=True)
        return file

    tasks: list[Callable[[], Path]] = [write_figures]
    if save_predictions is not None:
        from lisa_core.predictions import write_predictions

        tasks.append(partial(write_predictions, save_predictions, result.masks))
    if report is not None:
        from lisa_core.html_report import write_report

        said = {name: str(value) for name, value in about.items() if value is not None}
        tasks.append(partial(write_report, report, result, summary, dataset, said, report_samples))
    failures = []
    for task in tasks:
        try:
            file = task()
        except ConfigError as error:  # the others may be written all the same
            failures.append(error)
            continue
        if not as_json:
            console.print(f"written to {file}", markup=False, highlight=False, soft_wrap=True)
    if failures:
        raise failures[0]


def _refuse_foreign(output: Path) -> None:
    """Raise ConfigError for a file that is no evaluation: a run's config, say, is not to be lost to a slip."""
    from lisa_core.evaluation_file import read_evaluation

    try:
        read_evaluation(output)
    except ConfigError as error:
        raise ConfigError(f"--output {output} is there, and no evaluation: give another file, or remove it") from error


def _default_output(
    checkpoint: str | None,
    predictions: Path | None,
    split: str,
    protocol: str = "teacher-forced",
    phrasings: str = "first",
    first: int | None = None,
    temperature: float | None = None,
    flipped: bool | None = None,
) -> Path:
    """Beside what was evaluated; right here for a model of the hub."""
    from lisa_core.evaluation_file import evaluation_path

    if predictions is not None:
        name = evaluation_path(Path(), split, None, phrasings, first).name
        return predictions.with_name(f"{predictions.stem}.{name}")
    folder = user_path(str(checkpoint))
    return evaluation_path(
        folder if folder.is_dir() else Path(), split, protocol, phrasings, first, temperature, flipped
    )


def _scored(dataset: SegmentationDataset, predictions: Path, options: dict[str, Any]) -> EvaluationResult:
    from lisa_core.predictions import read_predictions
    from lisa_core.scored_predictions import evaluate_predictions

    return evaluate_predictions(dataset, read_predictions(predictions), **options)


def _unanswered(result: EvaluationResult, predictions: Path | None) -> str | None:
    """A line about sentences that got no mask."""
    names = result.unanswered
    if not names:
        return None
    shown = ", ".join(names[:10]) + (f" and {len(names) - 10} more" if len(names) > 10 else "")
    why = "the model wrote no [SEG]" if predictions is None else f"{predictions} has no mask"
    return f"{len(names)} of {len(result.records)} sentences count as empty masks, since {why} for them: {shown}"
