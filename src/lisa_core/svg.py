"""Small plots as SVG text, without a plotting library: for pages that have to be read anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

_INK, _FAINT, _GRID, _BAR, _MARK = "#1c2026", "#6b7480", "#e1e5ea", "#4a8fd0", "#c2410c"
_LABELS, _PLOT, _ROW = 190, 280, 24  # widths of label column and plot, height of a row, in pixels


@dataclass(frozen=True)
class Bar:
    """A value with its interval."""

    label: str
    """What it is of."""
    value: float
    """Where the bar ends."""
    low: float | None = None
    """Where the whisker begins; None: there is none."""
    high: float | None = None
    """Where it ends."""
    note: str = ""
    """Said right of the bar."""


def bar_chart(title: str, bars: Sequence[Bar], low: float = 0.0, high: float = 1.0) -> str:
    """Horizontal bars from 0, with whiskers.

    Args:
        title: read out to whoever does not see it.
        bars: from top to bottom.
        low: left end of the axis, at most 0.
        high: right end.
    """

    def x(value: float) -> float:
        return _LABELS + (min(max(value, low), high) - low) / (high - low) * _PLOT

    height = _ROW * len(bars) + 22
    parts = []
    for k in range(5):
        tick = low + k * (high - low) / 4
        parts.append(_line(x(tick), 4, x(tick), height - 18, _GRID))
        parts.append(_text(x(tick), height - 5, f"{tick:.3g}", anchor="middle", size=11, color=_FAINT))
    for row, bar in enumerate(bars):
        middle = row * _ROW + _ROW / 2 + 4
        begin, end = sorted((x(0.0), x(bar.value)))
        said = f"{bar.label}: {bar.value:.4f}" + ("" if bar.low is None else f" [{bar.low:.4f}, {bar.high:.4f}]")
        parts.append(f"<g><title>{escape(said)}</title>")
        parts.append(_text(_LABELS - 8, middle + 4, bar.label, anchor="end"))
        parts.append(_box(begin, middle - 7, end - begin, 14, _BAR))
        if bar.low is not None and bar.high is not None:
            parts.append(_line(x(bar.low), middle, x(bar.high), middle, _INK, 1.5))
            parts += [_line(x(end), middle - 4, x(end), middle + 4, _INK, 1.5) for end in (bar.low, bar.high)]
        parts.append(_text(_LABELS + _PLOT + 8, middle + 4, bar.note, size=11, color=_FAINT) + "</g>")
    return _picture(title, _LABELS + _PLOT + 105, height, parts)


def histogram(title: str, counts: Sequence[int], label: str) -> str:
    """Columns over 0..1, equally wide, each with its count.

    Args:
        title: read out to whoever does not see it.
        counts: from left to right.
        label: of the axis.
    """
    width, height, left = 420.0, 190.0, 12.0
    step, most = width / len(counts), max(*counts, 1)
    parts = []
    for k, count in enumerate(counts):
        tall = count / most * (height - 62)
        said = f"{k / len(counts):.2f} to {(k + 1) / len(counts):.2f}: {count}"
        parts.append(f"<g><title>{said}</title>{_box(left + k * step + 1, height - 40 - tall, step - 2, tall, _BAR)}")
        parts.append(_text(left + (k + 0.5) * step, height - 44 - tall, str(count), "middle", 10, _FAINT) + "</g>")
    parts += _unit_axis(left, width, height - 40, label)
    return _picture(title, width + 2 * left, height, parts)


def reliability(title: str, bins: Sequence[tuple[int, float, float]], across: str, up: str) -> str:
    """Discs at (mean x, mean y) in the unit square, their areas as the counts, with the line where both are equal.

    Args:
        title: read out to whoever does not see it.
        bins: count, mean x and mean y of each; those without a count are left out.
        across: label of the x axis.
        up: label of the y axis.
    """
    most = max([1, *(count for count, _, _ in bins)])
    points = [(x, y, 3 + 9 * (n / most) ** 0.5, f"{n} sentences: {x:.3f}, {y:.3f}") for n, x, y in bins if n]
    return _square(title, points, across, up, joined=True, diagonal=True)


def scatter(
    title: str, points: Sequence[tuple[float, float, str]], across: str, up: str, diagonal: bool = False
) -> str:
    """A dot at each (x, y) of the unit square, its text as a tooltip; with `diagonal` the line where both are equal."""
    return _square(title, [(x, y, 2.5, said) for x, y, said in points], across, up, False, diagonal)


def _square(
    title: str, points: Sequence[tuple[float, float, float, str]], across: str, up: str, joined: bool, diagonal: bool
) -> str:
    side, left, top = 260.0, 46.0, 10.0

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x * side, top + (1 - y) * side

    parts = [_line(*place(0, 0), *place(1, 1), _FAINT, dashes="4 4")] if diagonal else []
    for k in range(5):
        parts.append(_line(*place(0, k / 4), *place(1, k / 4), _GRID))
        parts.append(_text(left - 6, place(0, k / 4)[1] + 4, f"{k / 4:g}", "end", 11, _FAINT))
    parts += _unit_axis(left, side, top + side, across)
    if joined and len(points) > 1:
        corners = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y, _, _ in points)
        parts.append(f'<polyline points="{corners}" fill="none" stroke="{_MARK}" stroke-width="1.5"/>')
    for x, y, radius, said in points:
        cx, cy = place(x, y)
        parts.append(
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{radius:.1f}" fill="{_MARK}" fill-opacity="0.55">'
            f"<title>{escape(said)}</title></circle>"
        )
    middle = top + side / 2
    turned = f'<text transform="translate(12 {middle:.1f}) rotate(-90)" text-anchor="middle" font-size="12"'
    parts.append(f'{turned} fill="{_INK}">{escape(up)}</text>')
    return _picture(title, left + side + 16, top + side + 40, parts)


def _unit_axis(left: float, width: float, y: float, label: str) -> list[str]:
    ticks = [_text(left + k / 4 * width, y + 15, f"{k / 4:g}", "middle", 11, _FAINT) for k in range(5)]
    return [_line(left, y, left + width, y, _FAINT), *ticks, _text(left + width / 2, y + 33, label, "middle")]


def _line(x1: float, y1: float, x2: float, y2: float, color: str, width: float = 1, dashes: str = "") -> str:
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    ends = f'x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"'
    return f'<line {ends} stroke="{color}" stroke-width="{width}"{dashed}/>'


def _box(x: float, y: float, width: float, height: float, color: str) -> str:
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height:.1f}" fill="{color}"/>'


def _text(x: float, y: float, said: str, anchor: str = "start", size: int = 12, color: str = _INK) -> str:
    where = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f'<text {where} font-size="{size}" fill="{color}">{escape(said)}</text>'


def _picture(title: str, width: float, height: float, parts: Sequence[str]) -> str:
    size = f'viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" height="{height:.0f}"'
    font = 'font-family="system-ui, sans-serif"'
    return f'<svg {size} {font} role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'
