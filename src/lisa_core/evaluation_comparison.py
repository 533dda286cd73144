"""Two evaluations of the same sentences: how their figures differ, and whether by more than chance (paired bootstrap).

Both are resampled with the same pictures, so that what makes a picture hard for both does not blur the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lisa_core.bootstrap import by_picture, interval, resampled
from lisa_core.errors import ConfigError
from lisa_core.measures import COLUMNS, LABELS, LESS_IS_BETTER, NO_VERDICT, figures, sums_of, total_of, worth_showing
from lisa_core.records import SampleRecord
from lisa_core.summary import DEFAULTS, Settings, known, places_of

_SAME_FOR_ALL = ("centre_blob_giou", "largest_object_giou")  # of the data, not of what was evaluated


@dataclass(frozen=True)
class Difference:
    """One figure of both."""

    a: float
    """The first evaluation's."""
    b: float
    """The second's."""
    difference: float
    """b - a."""
    low: float | None
    """Lower end of the difference's interval; None if there are too few pictures for one."""
    high: float | None
    """Upper end."""

    @property
    def is_decided(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)

    @property
    def is_equal(self) -> bool:
        """Whether both figures are the same, whichever pictures are drawn."""
        return self.difference == 0 and not self.low and not self.high


def verdict(name: str, found: Difference) -> str:
    """What a difference comes to: "B better", "A better", "differs", "equal" or "not decided"."""
    if found.is_equal:
        return "equal"
    if not found.is_decided:
        return "not decided"
    if name in NO_VERDICT:
        return "differs"
    return "B better" if (found.difference > 0) != (name in LESS_IS_BETTER) else "A better"


@dataclass(frozen=True)
class GroupDifference:
    """The figures of both over some sentences."""

    n: int
    """Sentences."""
    pictures: int
    """Pictures they are about."""
    figures: dict[str, Difference]
    """By name, as in `measures.LABELS`, those that both have."""

    def rows(self) -> dict[str, tuple[str, Difference]]:
        """What is worth showing, in order: by name, the label and the difference."""
        names = [name for name in worth_showing(self.figures) if name not in _SAME_FOR_ALL]
        return {name: (LABELS[name], self.figures[name]) for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        described = {name: {**vars(found), "verdict": verdict(name, found)} for name, found in self.figures.items()}
        return {"n": self.n, "pictures": self.pictures, "figures": described}


@dataclass(frozen=True)
class EvaluationComparison:
    """Two evaluations side by side."""

    whole: GroupDifference
    """Over all sentences."""
    breakdowns: dict[str, dict[str, GroupDifference]]
    """By what, then by group."""
    pairs: list[tuple[SampleRecord, SampleRecord]]
    """Each sentence in both, those whose IoU changed most first."""
    left_out: tuple[int, int]
    """How many sentences only the first had, and only the second."""

    def to_dict(self, most: int = 20) -> dict[str, Any]:
        """Plain data for JSON, with the sentences that changed most."""
        changed = [
            {"id": a.id, "text": a.text, "image": a.image, "a": a.iou, "b": b.iou, "difference": b.iou - a.iou}
            for a, b in self.pairs[:most]
            if a.iou != b.iou
        ]
        return {
            **self.whole.to_dict(),
            "breakdowns": {
                by: {name: group.to_dict() for name, group in parts.items()} for by, parts in self.breakdowns.items()
            },
            "changed": changed,
            "only_a": self.left_out[0],
            "only_b": self.left_out[1],
        }


def compare_evaluations(
    a: Sequence[SampleRecord],
    b: Sequence[SampleRecord],
    settings: Settings = DEFAULTS,
    common: bool = False,
) -> EvaluationComparison:
    """Compare the second with the first.

    Args:
        a: the first evaluation's sentences.
        b: the second's.
        settings: how figures are computed from them.
        common: compare the sentences that both have, rather than refuse.

    Raises:
        ConfigError: if the sentences are not the same and `common` is not set, or their truths differ.
    """
    of_a, of_b = ({record.id: record for record in records} for records in (a, b))
    left_out = (len(of_a.keys() - of_b.keys()), len(of_b.keys() - of_a.keys()))
    shared = [name for name in of_a if name in of_b]
    if not shared:
        raise ConfigError("the two have no sentence in common: compare evaluations of the same data and split")
    if any(left_out) and not common:
        raise ConfigError(
            f"the two are not over the same sentences: {left_out[0]} only in A, {left_out[1]} only in B, {len(shared)} "
            "in both; evaluate both on the same split, or compare what they share with --common"
        )
    _check_truths([(of_a[name], of_b[name]) for name in shared])
    first, second = [of_a[name] for name in shared], [of_b[name] for name in shared]
    rows = np.concatenate(
        [sums_of(records, settings.epsilon, settings.no_target_pixels) for records in (first, second)], axis=1
    )
    pictures = [record.picture for record in first]
    groups = {
        by: {name: _group(rows[places], [pictures[k] for k in places], settings) for name, places in parts.items()}
        for by, parts in places_of(first).items()
    }
    pairs = sorted(zip(first, second), key=lambda pair: -abs(pair[1].iou - pair[0].iou))
    return EvaluationComparison(_group(rows, pictures, settings), groups, pairs, left_out)


def _check_truths(pairs: Sequence[tuple[SampleRecord, SampleRecord]]) -> None:
    for a, b in pairs:
        if (a.text, a.truth_pixels, a.counted_pixels) != (b.text, b.truth_pixels, b.counted_pixels):
            raise ConfigError(
                f"{a.id!r} has another sentence or truth in A than in B: compare evaluations of the same data"
            )


def _group(rows: np.ndarray, pictures: Sequence[str], settings: Settings) -> GroupDifference:
    width = len(COLUMNS)
    total = total_of(rows)
    of_a, of_b = figures(total[:width]), figures(total[width:])
    sums = by_picture(rows, pictures)
    drawn = resampled(sums, settings.resamples if len(sums) > 1 else 0, settings.seed)
    drawn_a, drawn_b = figures(drawn[:, :width]), figures(drawn[:, width:])
    found = {}
    for name in known(of_a):
        if name in known(of_b):
            low, high = interval(drawn_b[name] - drawn_a[name]) or (None, None)
            value_a, value_b = float(of_a[name]), float(of_b[name])
            found[name] = Difference(value_a, value_b, value_b - value_a, low, high)
    return GroupDifference(len(rows), len(sums), found)
