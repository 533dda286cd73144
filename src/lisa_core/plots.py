"""The curves of runs as one picture: a panel for each quantity, a colour for each run. Needs matplotlib, no display."""

from __future__ import annotations

import io
import itertools
import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib.style
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from lisa_core.errors import ConfigError
from lisa_core.run_history import Run
from lisa_core.run_log import number

Points = tuple[list[float], list[float]]
"""Optimizer steps, and a value at each."""

_COLUMNS, _PANEL = 4, (3.9, 2.6)  # panels side by side; width and height of one, in inches
_COLORS = ("#1f6fb4", "#e1701a", "#2f9444", "#c43c39", "#7d5fb0", "#80584c", "#d06ab0", "#6b6b6b", "#9a9a20", "#1aa6b7")
_DASHES = ("-", "--", ":", "-.")  # for runs beyond the tenth, whose colours come again
_FEW = 60  # points that are still worth a marker each
_WIDE_RANGE = 30.0  # largest over smallest value from which gradient norms are drawn on a logarithmic axis


def draw_runs(runs: Sequence[Run], smooth: int | None = None, format: str = "png") -> bytes:
    """The picture of `figure` as a file's bytes.

    Args:
        runs: at least one.
        smooth: as for `figure`.
        format: `png`, `svg` or `pdf`.

    Raises:
        ConfigError: as `figure`.
    """
    buffer = io.BytesIO()
    # The user's own style may need what is not there, such as LaTeX.
    with matplotlib.style.context("default"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # of a folder's name; it shows as a box
        figure(runs, smooth).savefig(buffer, format=format, dpi=100)
    return buffer.getvalue()


def figure(runs: Sequence[Run], smooth: int | None = None) -> Figure:
    """All curves by optimizer step: val and train gIoU, cIoU, listening, loss, its terms, learning rate, gradient norm.

    Curves of single steps are smoothed, with the raw values faint behind them; a star marks the epoch with the best
    validation gIoU, a cross a step that was left out because its loss or gradient was not finite.

    Args:
        runs: at least one.
        smooth: optimizer steps that a curve is averaged over; None: a twenty-fifth of the longest run.

    Raises:
        ConfigError: if none of the runs has logged a step or an epoch yet.
    """
    if not any(run.log.last_step for run in runs):
        raise ConfigError(f"{runs[0].path} has not logged a step yet: try again when it has")
    panels = _panels(runs)
    rows = math.ceil(len(panels) / _COLUMNS)
    styles = [_Style(_COLORS[k % len(_COLORS)], _DASHES[k // len(_COLORS) % len(_DASHES)]) for k in range(len(runs))]
    last = max(run.log.last_step for run in runs)
    smooth = smooth or max(last // 25, 1)
    size = (_COLUMNS * _PANEL[0], rows * _PANEL[1] + 0.3 + 0.2 * max(_legend_rows(runs), 2))
    picture = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(picture)
    for place, panel in enumerate(panels):
        axes = picture.add_subplot(rows, _COLUMNS, place + 1)
        axes.set_title(panel.title, fontsize=10)
        axes.grid(alpha=0.25)
        axes.tick_params(labelsize=8)
        axes.set_xlim(0, last * 1.04)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        if place >= len(panels) - _COLUMNS:
            axes.set_xlabel("optimizer step", fontsize=9)
        for run, style in zip(runs, styles):
            panel.draw(axes, run, style, smooth)
        if not axes.lines:
            axes.set_yticks([])
            axes.text(0.5, 0.5, panel.empty, transform=axes.transAxes, ha="center", va="center", color="grey")
    _legend(picture, runs, styles)
    return picture


@dataclass(frozen=True)
class _Style:
    color: str
    dashes: Any
    """Line style, as matplotlib takes it."""


@dataclass(frozen=True)
class _Panel:
    title: str
    draw: Callable[[Axes, Run, _Style, int], None]
    empty: str
    """What is said when no run has such values."""


def _panels(runs: Sequence[Run]) -> list[_Panel]:
    none_yet = "no validation yet"
    has_validation = any(run.best for run in runs)
    terms = [name for name in dict.fromkeys(n for run in runs for n in run.log.steps.names()) if _is_term(name, runs)]
    return [
        _Panel("gIoU", _draw_giou, none_yet),
        _Panel("cIoU", _val("ciou"), none_yet),
        _Panel("listening accuracy", _val("listening"), "no picture has two objects" if has_validation else none_yet),
        _Panel("loss", _steps("loss"), "no step yet"),
        *(_Panel(f"loss term: {name}{_weight(name, runs)}", _steps(name), "no step yet") for name in terms),
        _Panel("learning rate", _draw_rate, "no step yet"),
        _Panel("gradient norm, before clipping", _draw_norm, "no step yet"),
    ]


def _is_term(name: str, runs: Sequence[Run]) -> bool:
    """Whether a column is a loss term that counts: one that is 0 all the time (`ce` of late fusion) says nothing."""
    if name in ("kind", "step", "epoch", "lr", "loss", "giou", "masks", "grad_norm"):
        return False
    return any(value > 0 for run in runs for value in run.log.steps[name])


def _weight(name: str, runs: Sequence[Run]) -> str:
    """The term's weight in the loss, if it is the same in all runs."""
    weights = {number(run.config.get("loss", {}).get(f"{name}_weight")) for run in runs}
    weight = weights.pop() if len(weights) == 1 else None
    return "" if weight is None else f" (weight {weight:g})"


def _finite(steps: Iterable[float], values: Iterable[object]) -> Points:
    pairs = [(step, found) for step, value in zip(steps, values) if (found := number(value)) is not None]
    return [step for step, _ in pairs], [value for _, value in pairs]


def smoothed(values: Sequence[float], span: int) -> list[float]:
    """Mean of each value's neighbours, `span` of them (one more if that is even), fewer at both ends.

    Centred, so that a curve that falls is not drawn later than it fell.
    """
    half = span // 2
    sums = [0.0, *itertools.accumulate(values)]
    windows = ((max(place - half, 0), min(place + half + 1, len(values))) for place in range(len(values)))
    return [(sums[end] - sums[start]) / (end - start) for start, end in windows]


def _line(axes: Axes, points: Points, style: _Style, **changes: Any) -> None:
    steps, values = points
    if steps:
        options = {"color": style.color, "linestyle": style.dashes, "linewidth": 1.5, **changes}
        axes.plot(steps, values, **options)


def _curve(axes: Axes, points: Points, style: _Style, smooth: int, **changes: Any) -> None:
    """A smoothed curve over its raw values."""
    steps, values = points
    if smooth > 1:
        _line(axes, points, style, alpha=0.22, linewidth=0.8, linestyle="-", zorder=1)
        points = steps, smoothed(values, smooth)
    marker = {"marker": ".", "markersize": 5} if len(steps) <= _FEW else {}
    _line(axes, points, style, **marker, **changes)


def _steps(name: str) -> Callable[[Axes, Run, _Style, int], None]:
    def draw(axes: Axes, run: Run, style: _Style, smooth: int) -> None:
        steps = run.log.steps
        if any(steps[name]):  # a term that another run alone has is 0 in this one
            _curve(axes, _finite(steps["step"], steps[name]), style, smooth)
        if name == "loss":
            _mark_left_out(axes, run.log.left_out, style)

    return draw


def _draw_rate(axes: Axes, run: Run, style: _Style, smooth: int) -> None:
    steps = run.log.steps
    _curve(axes, _finite(steps["step"], steps["lr"]), style, smooth=1)  # no noise that would have to be smoothed
    axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
    axes.yaxis.get_offset_text().set_fontsize(8)


def _draw_norm(axes: Axes, run: Run, style: _Style, smooth: int) -> None:
    steps = run.log.steps
    points = _finite(steps["step"], steps["grad_norm"])
    _curve(axes, points, style, smooth)
    if points[1] and min(points[1]) > 0 and max(points[1]) / min(points[1]) > _WIDE_RANGE:
        axes.set_yscale("log")
    _mark_left_out(axes, _not_finite(run), style)


def _not_finite(run: Run) -> list[int]:
    """Steps that changed no weight: those left out, and with fp16 those whose gradients were beyond its range."""
    steps = run.log.steps
    norms = steps["grad_norm"] if "grad_norm" in steps.names() else ()
    return sorted({*run.log.left_out, *(int(step) for step, norm in zip(steps["step"], norms) if number(norm) is None)})


def _mark_left_out(axes: Axes, steps: Sequence[int], style: _Style) -> None:
    """Crosses at the lower edge."""
    if steps:
        axes.plot(
            steps,
            [0.04] * len(steps),
            transform=axes.get_xaxis_transform(),
            color=style.color,
            linestyle="none",
            marker="x",
            markersize=6,
        )


def _draw_giou(axes: Axes, run: Run, style: _Style, smooth: int) -> None:
    steps = run.log.steps
    _curve(axes, _finite(steps["step"], steps["giou"]), style, smooth, linewidth=1.0, linestyle=":")
    _val("giou")(axes, run, style, smooth)


def _val(name: str) -> Callable[[Axes, Run, _Style, int], None]:
    """A figure of the validations."""

    def draw(axes: Axes, run: Run, style: _Style, smooth: int) -> None:
        epochs = [record for record in run.log.epochs if "val" in record]
        points = _finite([record["step"] for record in epochs], [record["val"].get(name) for record in epochs])
        _line(axes, points, style, marker="o" if len(epochs) <= _FEW else ".", markersize=4)
        best = run.best
        if best is not None:
            _line(axes, _finite([best["step"]], [best["val"].get(name)]), style, marker="*", markersize=13, zorder=3)

    return draw


def _legend(picture: Figure, runs: Sequence[Run], styles: Sequence[_Style]) -> None:
    """Above all panels, the runs with their best figures on the left and what the signs mean on the right."""
    names = [run.name for run in runs]
    lines = [Line2D([], [], color=style.color, linestyle=style.dashes, linewidth=2.5) for style in styles]
    labels = [_label(run, names) for run in runs]
    signs = {
        "validation": Line2D([], [], color="dimgrey", marker="o", markersize=4),
        "training (gIoU)": Line2D([], [], color="dimgrey", linestyle=":"),
        "best validation gIoU": Line2D([], [], color="dimgrey", linestyle="none", marker="*", markersize=11),
    }
    if any(_not_finite(run) for run in runs):
        sign = Line2D([], [], color="dimgrey", linestyle="none", marker="x", markersize=6)
        signs["step left out: not finite"] = sign
    options: dict[str, Any] = {"fontsize": 9, "frameon": False}
    left = picture.legend(lines, labels, loc="outside upper left", ncols=_legend_columns(runs), **options)
    picture.legend(list(signs.values()), list(signs), loc="outside upper right", ncols=2, **options)
    for text in left.get_texts():
        text.set_parse_math(False)  # a `$` in a folder's name is no formula


def _legend_columns(runs: Sequence[Run]) -> int:
    return 1 if len(runs) < 6 else 2


def _legend_rows(runs: Sequence[Run]) -> int:
    return math.ceil(len(runs) / _legend_columns(runs))


def _label(run: Run, names: Sequence[str]) -> str:
    """A run's name (its path, if another one has the same name) and best figure."""
    name = run.name if names.count(run.name) == 1 else str(run.path)
    best = run.best
    figure = "no validation yet" if best is None else f"best gIoU {best['val']['giou']:.4f} at epoch {best['epoch']}"
    return f"{_short(name)}: {figure}"


def _short(name: str) -> str:
    return name if len(name) <= 50 else f"{name[:23]}...{name[-24:]}"
