"""The HTML report of two evaluations compared: differences with their intervals, and the samples that changed most."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from lisa_core.data import SegmentationDataset
from lisa_core.evaluation_comparison import Difference, EvaluationComparison, GroupDifference, verdict
from lisa_core.html_page import table, tools, write_page
from lisa_core.html_report import interval_text, shown_of
from lisa_core.html_samples import Keep, card
from lisa_core.measures import LABELS
from lisa_core.predictions import SavedMask
from lisa_core.svg import Bar, bar_chart, scatter

_DOTS = 2000

Masks = tuple[Mapping[str, SavedMask], Mapping[str, SavedMask]]
"""The masks of both, by sample id."""


def write_comparison(
    path: Path,
    comparison: EvaluationComparison,
    names: tuple[str, str],
    samples: int,
    dataset: SegmentationDataset | None = None,
    masks: Masks | None = None,
    notes: Sequence[str] = (),
) -> Path:
    """Write the report.

    Args:
        path: as of `write_page`.
        comparison: of A with B.
        names: of A and of B.
        samples: how many of the sentences that changed most are listed.
        dataset: gives their pictures and truths; without it and the masks there are no pictures.
        masks: of both.
        notes: sentences about the two that a reader has to know.

    Returns:
        The HTML file.

    Raises:
        ConfigError: if it cannot be written.
    """
    title = f"{names[0]} (A) and {names[1]} (B)"

    def body(keep: Keep) -> str:
        whole = comparison.whole
        about = (
            f"{whole.n} sentences about {whole.pictures} pictures. Differences are B - A; intervals hold 95% of the "
            "paired bootstrap's resamples, in which both are scored on the same pictures."
        )
        parts = [f'<h1>{escape(title)}</h1><p class="about">{escape(about)}</p>']
        parts += [f'<p class="about">{escape(note)}.</p>' for note in notes]
        parts.append("<h2>Figures</h2>")
        charts = _chart("Differences", {LABELS[name]: whole.figures[name] for name in _MAIN if name in whole.figures})
        parts.append(f'<div class="side"><div class="panel">{_figures(whole)}</div><div class="panel">{charts}</div>')
        step = -(-len(comparison.pairs) // _DOTS)
        dots = [(a.iou, b.iou, a.text) for a, b in comparison.pairs[::step]]
        parts.append(
            f'<div class="panel">{scatter("IoU of A against IoU of B", dots, "IoU of A", "IoU of B", True)}</div></div>'
        )
        parts.append('<h2>Breakdowns</h2><div class="side">')
        for by, groups in comparison.breakdowns.items():
            chart = _chart(f"gIoU by {by}", {name: group.figures["giou"] for name, group in groups.items()})
            parts.append(f'<div class="panel"><h3>Difference of gIoU by {escape(by)}</h3>{chart}</div>')
        parts.append("</div><h2>Changed most</h2>")
        return "\n".join([*parts, *_changed(comparison, names, samples, dataset, masks, keep)])

    return write_page(path, body, title)


_MAIN = ("giou", "ciou", "precision_0.5", "boundary_iou", "listening")


def _figures(group: GroupDifference) -> str:
    rows = [
        [
            label,
            f"{found.a:.4f}",
            f"{found.b:.4f}",
            f"{found.difference:+.4f}",
            interval_text(found.low, found.high, signed=True),
            verdict(name, found),
        ]
        for name, (label, found) in group.rows().items()
    ]
    return table(["measure", "A", "B", "B - A", "95% interval", ""], rows)


def _chart(title: str, found: Mapping[str, Difference]) -> str:
    """Bars around 0."""
    bars = [Bar(label, one.difference, one.low, one.high, f"{one.difference:+.3f}") for label, one in found.items()]
    ends = [abs(end) for bar in bars for end in (bar.value, bar.low, bar.high) if end is not None]
    span = max([0.01, *ends])
    return bar_chart(title, bars, -span, span)


def _changed(
    comparison: EvaluationComparison,
    names: tuple[str, str],
    samples: int,
    dataset: SegmentationDataset | None,
    masks: Masks | None,
    keep: Keep,
) -> list[str]:
    pairs = [(a, b) for a, b in comparison.pairs[:samples] if a.iou != b.iou]
    if dataset is None or masks is None:
        rows = [[a.text, a.id, a.image, f"{a.iou:.4f}", f"{b.iou:.4f}", f"{b.iou - a.iou:+.4f}"] for a, b in pairs]
        return [f'<div class="panel">{table(["sentence", "id", "picture", "A", "B", "B - A"], rows)}</div>']
    cards = []
    for k, (a, b) in enumerate(pairs):
        drawn = [("A", masks[0].get(a.id), a.iou), ("B", masks[1].get(a.id), b.iou)]
        cards.append(card(shown_of(a, dataset, drawn), f"changed{k}", keep))
    return [tools(), f'<div class="cards">{"".join(cards)}</div>']
