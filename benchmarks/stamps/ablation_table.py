"""What the configurations reach, as a table: means over seeds, and how they differ from the first of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lisa_core.bootstrap import by_picture, interval, resampled
from lisa_core.errors import ConfigError
from lisa_core.evaluation_file import read_evaluation

SPLITS = ("val", "test_unseen")
_FIGURES = {"giou": (0, 1), "listening": (2, 3), "blank": (4, 1)}
"""By name: which of a record's numbers is divided by which."""
_UNPAIRED = "two runs were evaluated on other pictures: delete --out, or give another"


@dataclass(frozen=True)
class Result:
    """The runs of one configuration, one for each seed."""

    runs: Sequence[Path]
    """Folders with the files of `lisa eval` for both splits."""
    minutes: float
    """Of training, on average."""


@dataclass(frozen=True)
class Estimate:
    """A figure over all seeds of a configuration."""

    mean: float
    """Of the seeds' figures."""
    spread: float
    """Largest less smallest of the seeds' figures."""
    pictures: tuple[str, ...]
    """Whose sentences were asked, in their order."""
    draws: np.ndarray
    """The mean in bootstrap resamples of the pictures, float64 [R]; the same draws for all configurations."""

    def less(self, other: Estimate) -> tuple[float, float, float]:
        """The difference from another estimate, and the 95% interval of it that other pictures would give.

        Raises:
            ConfigError: if the two are not of the same pictures.
        """
        if self.pictures != other.pictures:
            raise ConfigError(_UNPAIRED)
        low, high = interval(self.draws - other.draws) or (float("nan"), float("nan"))
        return self.mean - other.mean, low, high


def estimates(runs: Sequence[Path], split: str) -> dict[str, Estimate]:
    """gIoU, listening accuracy and gIoU with the sentence blanked, over all runs of a configuration.

    Raises:
        ConfigError: if they are not of the same pictures.
    """
    shares = []
    pictures: list[tuple[str, ...]] = []
    for run in runs:
        records = read_evaluation(run, split).records
        rows = np.array([[r.iou, 1, r.listening_hits, r.listening_pairs, r.blind.get("blank", 0.0)] for r in records])
        pictures.append(tuple(dict.fromkeys(record.picture for record in records)))
        shares.append(by_picture(rows, [record.picture for record in records]))
    if len(set(pictures)) > 1:
        raise ConfigError(_UNPAIRED)
    # One draw of pictures serves all seeds: they were asked about the same ones.
    draws = np.stack([resampled(share) for share in shares])  # [seeds,R,5]
    totals = np.stack([share.sum(0) for share in shares])  # [seeds,5]
    found = {}
    for name, (top, bottom) in _FIGURES.items():
        each = totals[:, top] / totals[:, bottom]
        found[name] = Estimate(
            float(each.mean()),
            float(each.max() - each.min()),
            pictures[0],
            (draws[..., top] / draws[..., bottom]).mean(0),
        )
    return found


def table(results: Mapping[str, Result]) -> str:
    """A Markdown table, one line per configuration; the first is what the others are compared with."""
    lines = [
        "| configuration | val gIoU | val listening | unseen gIoU | unseen listening | val gIoU, blanked | minutes |",
        "|---|---|---|---|---|---|---|",
    ]
    first: dict[str, dict[str, Estimate]] | None = None
    for name, result in results.items():
        found = {split: estimates(result.runs, split) for split in SPLITS}
        cells = [
            _cell(found[split][figure], None if first is None else first[split][figure])
            for split in SPLITS
            for figure in ("giou", "listening")
        ]
        first = first or found
        lines.append(f"| `{name}` | {' | '.join(cells)} | {found['val']['blank'].mean:.3f} | {result.minutes:.0f} |")
    return "\n".join(lines)


def _cell(value: Estimate, first: Estimate | None) -> str:
    if first is None:
        low, high = interval(value.draws) or (float("nan"), float("nan"))
        return f"{value.mean:.3f} ({low:.3f} to {high:.3f}; seeds within {value.spread:.3f})"
    difference, low, high = value.less(first)
    return f"{value.mean:.3f} ({difference:+.3f}: {low:+.3f} to {high:+.3f}; seeds within {value.spread:.3f})"
