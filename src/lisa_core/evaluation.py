"""What an evaluation found, whoever drew the masks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lisa_core.metrics import SegmentationMetrics
from lisa_core.predictions import SavedMask
from lisa_core.records import SampleRecord, metrics_of

Protocol = Literal["teacher-forced", "generated"]
"""Who writes the answer with `[SEG]`: it is given (LISA), or the model has to write it (Sa2VA)."""


@dataclass
class EvaluationResult:
    """The figures of one evaluation."""

    metrics: SegmentationMetrics
    """gIoU, cIoU and P@k over all sentences."""
    listening: float | None
    """Share of sentence pairs of one picture whose masks overlap their own object more; None without such pairs."""
    pairs: int
    """Sentence pairs that `listening` is over."""
    blank_giou: float | None
    """gIoU with every sentence blanked; None if that was not asked for."""
    swapped_giou: float | None
    """gIoU with every sentence swapped for another object's of the picture; None if there was none of another."""
    baselines: dict[str, float]
    """gIoU of guesses that never read the sentence."""
    skipped: list[str] = field(default_factory=list)
    """A line for each sample that could not be read."""
    records: list[SampleRecord] = field(default_factory=list)
    """One for each sentence, in the dataset's order."""
    masks: list[SavedMask] = field(default_factory=list)
    """What was drawn, in the same order; empty unless asked for."""

    @property
    def giou(self) -> float:
        """Mean IoU of the masks."""
        return self.metrics.giou

    @property
    def unanswered(self) -> list[str]:
        """Ids of the sentences for which there was no mask; they count as empty ones."""
        return [record.id for record in self.records if not record.answered]

    def by_source(self) -> dict[str, SegmentationMetrics]:
        """The figures of each source that the records name, in the order of these."""
        names = dict.fromkeys(record.source for record in self.records)
        return {name: metrics_of([record for record in self.records if record.source == name]) for name in names}

    @classmethod
    def of(
        cls, records: Sequence[SampleRecord], skipped: Sequence[str] = (), masks: Sequence[SavedMask] = ()
    ) -> EvaluationResult:
        """The figures of some records; raises ValueError if there are none."""
        records = sorted(records, key=lambda record: record.index)
        masks = sorted(masks, key=lambda mask: mask.index)
        pairs = sum(record.listening_pairs for record in records)
        names = dict.fromkeys(name for record in records for name in record.blind)
        blind = {name: [r.blind[name] for r in records if name in r.blind] for name in names}
        # fsum is rounded once, at its end: the order of the records cannot matter
        guesses = {name: math.fsum(ious) / len(ious) for name, ious in blind.items()}
        return cls(
            metrics=metrics_of(records),
            listening=sum(record.listening_hits for record in records) / pairs if pairs else None,
            pairs=pairs,
            blank_giou=guesses.pop("blank", None),
            swapped_giou=guesses.pop("swapped", None),
            baselines=guesses,
            skipped=list(skipped),
            records=records,
            masks=list(masks),
        )

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> EvaluationResult:
        """What `to_dict` made plain, without records and the lines about skipped samples."""
        precision = {float(threshold): share for threshold, share in record["precision"].items()}
        return cls(
            metrics=SegmentationMetrics(record["giou"], record["ciou"], precision, record["n"]),
            listening=record["listening"],
            pairs=record["listening_pairs"],
            blank_giou=record["blank_giou"],
            swapped_giou=record.get("swapped_giou"),  # files of the first versions have none
            baselines=record["baselines"],
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, without the records."""
        return {
            **self.metrics.to_dict(),
            "listening": self.listening,
            "listening_pairs": self.pairs,
            "blank_giou": self.blank_giou,
            "swapped_giou": self.swapped_giou,
            "baselines": self.baselines,
            "skipped": len(self.skipped),
        }
