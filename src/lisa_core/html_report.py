"""The HTML report of an evaluation: its figures, plots, and its best, worst and random samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

import numpy as np

from lisa_core.data import SegmentationDataset
from lisa_core.evaluation import EvaluationResult
from lisa_core.html_page import table, tools, write_page
from lisa_core.html_samples import Keep, Shown, card
from lisa_core.measures import LABELS
from lisa_core.predictions import SavedMask
from lisa_core.records import SampleRecord
from lisa_core.summary import Group, Summary
from lisa_core.svg import Bar, bar_chart, histogram, reliability, scatter

SAMPLES = 12
"""How many of the best, of the worst, and of the others at random."""
_BINS = 20
_DOTS = 2000  # of the scatter plot: more take long to draw and say no more


def write_report(
    path: Path,
    result: EvaluationResult,
    summary: Summary,
    dataset: SegmentationDataset,
    about: Mapping[str, str],
    samples: int = SAMPLES,
) -> Path:
    """Write the report.

    Args:
        path: as of `write_page`.
        result: with its masks.
        summary: of the same records.
        dataset: gives pictures and truths of the samples that are shown.
        about: what was evaluated, in words: shown at the top.
        samples: how many of each kind.

    Returns:
        The HTML file.

    Raises:
        ConfigError: if it cannot be written.
    """
    title = "Evaluation of " + " on ".join(list(about.values())[:2])

    def body(keep: Keep) -> str:
        facts = " · ".join(f"{name}: {value}" for name, value in about.items())
        head = f'<h1>{escape(title)}</h1><p class="about">{escape(facts)}</p>'
        return "\n".join(
            [head, *_figures(summary), *_plots(result, summary), *_samples(result, dataset, samples, keep)]
        )

    return write_page(path, body, title)


def picked(records: Sequence[SampleRecord], count: int, seed: int = 0) -> dict[str, list[SampleRecord]]:
    """Which samples are shown, each once, under which heading; equals are taken in the dataset's order.

    The random ones are of those that are neither among the worst nor the best. Headings without a sample are left out.
    """
    worst = sorted(records, key=lambda record: (record.iou, record.index))[: min(count, -(-len(records) // 2))]
    left = _without(records, worst)
    best = sorted(left, key=lambda record: (-record.iou, record.index))[:count]
    left = _without(left, best)
    drawn = np.random.default_rng(seed).permutation(len(left))[:count]
    found = {"Worst": worst, "Best": best, "Random": [left[k] for k in sorted(drawn.tolist())]}
    return {heading: part for heading, part in found.items() if part}


def _without(records: Sequence[SampleRecord], taken: Sequence[SampleRecord]) -> list[SampleRecord]:
    indices = {record.index for record in taken}
    return [record for record in records if record.index not in indices]


def _figures(summary: Summary) -> list[str]:
    whole = summary.whole
    rows = [
        [label, f"{found.value:.4f}", interval_text(found.low, found.high)] for label, found in summary.rows().values()
    ]
    shares = [name for name in ("giou", "ciou", "miou", "boundary_iou", "precision_0.5") if name in whole.figures]
    chart = bar_chart("The main figures with their intervals", [_bar(LABELS[name], whole, name) for name in shares])
    settings = summary.settings
    note = (
        f"{whole.n} sentences about {whole.pictures} pictures. Intervals hold 95% of {settings.resamples} bootstrap "
        f"resamples of pictures, with all their sentences (seed {settings.seed})."
    )
    head = ["measure", "value", "95% interval"]
    return [
        "<h2>Figures</h2>",
        f'<div class="side"><div class="panel">{table(head, rows)}</div><div class="panel">{chart}</div></div>',
        f'<p class="about">{escape(note)}</p>',
    ]


def _plots(result: EvaluationResult, summary: Summary) -> list[str]:
    ious = np.array([record.iou for record in result.records])
    counts, _ = np.histogram(ious, bins=_BINS, range=(0, 1))
    panels = [("IoU of the sentences", histogram("How many sentences have which IoU", counts.tolist(), "IoU"))]
    if any(n for n, _, _ in summary.calibration):
        plot = reliability("Mean score against mean IoU", summary.calibration, "score, as the model says", "IoU")
        panels.append(("Calibration of the score", plot))
    step = -(-len(result.records) // _DOTS)
    dots = [(record.mask_share**0.5, record.iou, record.text) for record in result.records[::step]]
    across = "square root of the truth's share of the picture"
    panels.append(("IoU by mask size", scatter("IoU against mask size", dots, across, "IoU")))
    plots = "".join(f'<div class="panel"><h3>{escape(name)}</h3>{plot}</div>' for name, plot in panels)
    parts = ["<h2>Plots</h2>", f'<div class="side">{plots}</div>', "<h2>Breakdowns</h2>", '<div class="side">']
    for by, groups in summary.breakdowns.items():
        chart = bar_chart(f"gIoU by {by}", [_bar(name, group, "giou") for name, group in groups.items()])
        parts.append(f'<div class="panel"><h3>gIoU by {escape(by)}</h3>{chart}{_group_table(by, groups)}</div>')
    return [*parts, "</div>"]


def _group_table(by: str, groups: Mapping[str, Group]) -> str:
    names = ("giou", "ciou", "precision_0.5", "boundary_iou")
    rows = []
    for name, group in groups.items():
        cells = [f"{group.figures[figure].value:.3f}" if figure in group.figures else "-" for figure in names]
        rows.append([name, str(group.n), str(group.pictures), *cells])
    return table([by, "sentences", "pictures", *(LABELS[name] for name in names)], rows)


def _bar(label: str, group: Group, name: str) -> Bar:
    found = group.figures[name]
    return Bar(label, found.value, found.low, found.high, f"{found.value:.3f} (n {group.n})")


def _samples(result: EvaluationResult, dataset: SegmentationDataset, count: int, keep: Keep) -> list[str]:
    masks = {mask.id: mask for mask in result.masks}
    parts = ["<h2>Samples</h2>", tools()]
    for heading, records in picked(result.records, count).items():
        cards = [
            card(
                shown_of(record, dataset, [("prediction", masks.get(record.id), record.iou)]),
                f"{heading}{k}",
                keep,
            )
            for k, record in enumerate(records)
        ]
        title = f"{heading} of the others" if heading == "Random" else heading
        parts.append(f'<h2>{title}</h2><div class="cards">{"".join(cards)}</div>')
    return parts


def shown_of(
    record: SampleRecord, dataset: SegmentationDataset, masks: Sequence[tuple[str, SavedMask | None, float]]
) -> Shown:
    """A sample with its picture; who drew which mask, and its IoU."""
    example = dataset.load(record.index)
    height, width = example.mask.shape
    drawn = [
        (who, np.zeros((height, width), dtype=bool) if mask is None else mask.drawn(height, width).mask, iou)
        for who, mask, iou in masks
    ]
    replies = [mask.reply for _, mask, _ in masks if mask is not None and mask.reply is not None]
    return Shown(record, example.image, example.mask, drawn, " | ".join(replies) if replies else None)


def interval_text(low: float | None, high: float | None, signed: bool = False) -> str:
    """An interval in brackets; empty if there is none."""
    sign = "+" if signed else ""
    return "" if low is None or high is None else f"[{low:{sign}.4f}, {high:{sign}.4f}]"
