"""A dataset's distributions as pictures. Needs matplotlib, no display."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence

import matplotlib.style
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from lisa_core.inspection.facts import DatasetFacts, SplitFacts

_COLORS = ("#1f6fb4", "#e1701a", "#2f9444", "#c43c39", "#7d5fb0", "#80584c")
_BINS = 30
_DOTS = 5000  # of picture sizes: more say no more


def draw_facts(facts: DatasetFacts) -> dict[str, bytes]:
    """PNG pictures by name: how many samples, words of the texts, sizes of the pictures, areas of the masks."""
    splits = {name: split for name, split in facts.splits.items() if split.samples}
    drawings: dict[str, Callable[[Axes, dict[str, SplitFacts]], None]] = {
        "counts": _counts,
        "text_lengths": _words,
        "picture_sizes": _sizes,
        "mask_areas": _areas,
    }
    pictures = {}
    with matplotlib.style.context("default"):  # the user's own style may need what is not there
        for name, draw in drawings.items():
            figure = Figure(figsize=(6.4, 4.0), layout="constrained")
            FigureCanvasAgg(figure)
            axes = figure.add_subplot()
            axes.grid(alpha=0.25)
            draw(axes, splits)
            if len(splits) > 1 and axes.get_legend_handles_labels()[0]:
                axes.legend(frameon=False)
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=110)
            pictures[name] = buffer.getvalue()
    return pictures


def _counts(axes: Axes, splits: dict[str, SplitFacts]) -> None:
    places = np.arange(len(splits))
    for shift, label, values in (
        (-0.2, "samples", [split.samples for split in splits.values()]),
        (0.2, "pictures", [split.pictures for split in splits.values()]),
    ):
        bars = axes.bar(places + shift, values, 0.38, label=label, color=_COLORS[shift > 0])
        axes.bar_label(bars, fontsize=8)
    axes.set_xticks(places, list(splits))
    axes.set_title("samples and pictures")
    axes.legend(frameon=False)


def _words(axes: Axes, splits: dict[str, SplitFacts]) -> None:
    most = max((max(split.words, default=0) for split in splits.values()), default=0)
    edges = np.arange(0.5, most + 1.5) if most <= 60 else np.linspace(0.5, most + 0.5, _BINS + 1)
    _histogram(axes, {name: split.words for name, split in splits.items()}, edges)
    axes.set_title("words of the texts")
    axes.set_xlabel("words")


def _areas(axes: Axes, splits: dict[str, SplitFacts]) -> None:
    roots = {name: np.sqrt(np.asarray(split.shares)) for name, split in splits.items()}
    _histogram(axes, roots, np.linspace(0, 1, _BINS + 1))
    axes.set_title("sizes of the masks")
    axes.set_xlabel("square root of the mask's share of the picture")


def _sizes(axes: Axes, splits: dict[str, SplitFacts]) -> None:
    for k, (name, split) in enumerate(splits.items()):
        common = split.sizes.most_common(_DOTS)
        if common:
            (widths, heights), counts = zip(*(size for size, _ in common)), [count for _, count in common]
            areas = 12 + 150 * np.asarray(counts) / max(counts)
            color = _COLORS[k % len(_COLORS)]
            axes.scatter(widths, heights, areas, alpha=0.5, label=name, color=color, edgecolors="none")
    axes.set_title("sizes of the pictures")
    axes.set_xlabel("width in pixels")
    axes.set_ylabel("height in pixels")


def _histogram(axes: Axes, values: dict[str, Sequence[float] | np.ndarray], edges: np.ndarray) -> None:
    """A line a split, as shares: splits are of different sizes."""
    for k, (name, numbers) in enumerate(values.items()):
        if len(numbers):
            counts, _ = np.histogram(np.asarray(numbers), bins=edges)
            color = _COLORS[k % len(_COLORS)]
            axes.stairs(100 * counts / len(numbers), edges, label=name, color=color, linewidth=1.6)
    axes.set_ylabel("% of samples")
    axes.set_ylim(bottom=0)
