"""All figures of an evaluation with their intervals, over everything and by source, form, length and mask size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lisa_core.bootstrap import RESAMPLES, by_picture, interval, resampled
from lisa_core.measures import LABELS, calibration_bins, figures, sums_of, total_of, worth_showing
from lisa_core.records import SampleRecord

WORDS = (4, 8, 16)
"""Lengths in words at which the next group begins."""
SHARES = (0.01, 0.05, 0.2)
"""Shares of the picture, as of the truth's mask, at which the next group begins."""


@dataclass(frozen=True)
class Estimate:
    """One figure."""

    value: float
    """Of the sentences themselves."""
    low: float | None
    """Lower end of its interval; None if there are too few pictures for one."""
    high: float | None
    """Upper end."""


@dataclass(frozen=True)
class Group:
    """The figures over some sentences."""

    n: int
    """Sentences."""
    pictures: int
    """Pictures they are about."""
    figures: dict[str, Estimate]
    """By name, as in `measures.LABELS`, those that there are."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"n": self.n, "pictures": self.pictures, "figures": {k: vars(v) for k, v in self.figures.items()}}


@dataclass(frozen=True)
class Settings:
    """How figures are computed from records."""

    epsilon: float | None = None
    """Added to each union in `giou_epsilon`, as LISA's code adds 1e-5; None: there is no such figure."""
    no_target_pixels: int = 1
    """gRefCOCO's figures take a mask with fewer pixels for the answer "there is none"."""
    resamples: int = RESAMPLES
    """Of the bootstrap; 0: no intervals."""
    seed: int = 0
    """Of the bootstrap."""


DEFAULTS = Settings()
"""As `lisa eval` has them."""


@dataclass(frozen=True)
class Summary:
    """The figures of one evaluation."""

    whole: Group
    """Over all sentences."""
    breakdowns: dict[str, dict[str, Group]]
    """By what, then by group."""
    calibration: list[tuple[int, float, float]]
    """For each bin of the score: sentences, mean score, mean IoU."""
    settings: Settings
    """How it was computed."""

    def rows(self) -> dict[str, tuple[str, Estimate]]:
        """What is worth showing, in order: by name, the label and the figure."""
        found = self.whole.figures
        names = [name for name in worth_showing(found) if name != "answered" or found[name].value < 1]
        shown = {name: (LABELS[name], found[name]) for name in names}
        if "giou_epsilon" in shown:
            shown["giou_epsilon"] = (f"gIoU, I/(U + {self.settings.epsilon:g})", found["giou_epsilon"])
        return shown

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        groups = {by: {name: group.to_dict() for name, group in parts.items()} for by, parts in self.breakdowns.items()}
        return {
            **self.whole.to_dict(),
            "breakdowns": groups,
            "calibration": [{"n": n, "score": score, "iou": iou} for n, score, iou in self.calibration],
            **vars(self.settings),
        }


def summarize(records: Sequence[SampleRecord], settings: Settings = DEFAULTS) -> Summary:
    """Compute everything; raises ValueError without a record."""
    if not records:
        raise ValueError("no sentence was scored, so there is nothing to compute")
    rows = sums_of(records, settings.epsilon, settings.no_target_pixels)
    pictures = [record.picture for record in records]
    breakdowns = {
        by: {name: _group(rows[places], [pictures[k] for k in places], settings) for name, places in parts.items()}
        for by, parts in places_of(records).items()
    }
    return Summary(_group(rows, pictures, settings), breakdowns, calibration_bins(total_of(rows)), settings)


def places_of(records: Sequence[SampleRecord]) -> dict[str, dict[str, list[int]]]:
    """Which records are in which group of which breakdown; groups without one are left out."""
    keys: dict[str, Callable[[SampleRecord], str]] = {
        "source": lambda record: record.source,
        "form": lambda record: "sentence" if record.is_sentence else "phrase",
        "text length": lambda record: _words(record.words),
        "mask size": lambda record: _size(record.mask_share),
    }
    order = [*(_words(n) for n in (1, *WORDS)), *(_size(share) for share in (0.0, SHARES[0] / 2, *SHARES))]
    found: dict[str, dict[str, list[int]]] = {}
    for by, key in keys.items():
        groups: dict[str, list[int]] = {}
        for place, record in enumerate(records):
            groups.setdefault(key(record), []).append(place)
        names = sorted(groups, key=lambda name: (order.index(name) if name in order else -1, name))
        found[by] = {name: groups[name] for name in names}
    return found


def known(values: dict[str, np.ndarray]) -> list[str]:
    """Names of the figures that are about something, in the order of `LABELS`."""
    return [name for name in LABELS if not math.isnan(float(values[name]))]


def _group(rows: np.ndarray, pictures: Sequence[str], settings: Settings) -> Group:
    values = figures(total_of(rows))
    sums = by_picture(rows, pictures)
    drawn = figures(resampled(sums, settings.resamples, settings.seed)) if len(sums) > 1 else {}
    estimates = {}
    for name in known(values):
        low, high = (interval(drawn[name]) if drawn else None) or (None, None)
        estimates[name] = Estimate(float(values[name]), low, high)
    return Group(len(rows), len(sums), estimates)


def _words(count: int) -> str:
    begin = max((start for start in WORDS if start <= count), default=1)
    after = [start for start in WORDS if start > begin]
    return f"{begin} to {after[0] - 1} words" if after else f"{begin} words or more"


def _size(share: float) -> str:
    if share == 0:
        return "no target"
    begin = max((start for start in SHARES if start <= share), default=0.0)
    after = [start for start in SHARES if start > begin]
    if not begin:
        return f"below {SHARES[0]:.0%} of the picture"
    return f"{begin:.0%} to {after[0]:.0%}" if after else f"{begin:.0%} or more"
