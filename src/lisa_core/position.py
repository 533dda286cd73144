"""Where a run stands: what a checkpoint remembers of it beside weights and training state."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Position:
    """Where a run stands, as plain data; with the weights and the training state it decides all that follows."""

    epoch: int = 1
    """The epoch that is being trained or validated."""
    epoch_step: int = 0
    """Optimizer steps of it that are done."""
    step: int = 0
    """Optimizer steps that are done since the start."""
    loss: float = 0.0
    """Summed over the epoch's steps."""
    iou: float = 0.0
    """Summed over the epoch's training masks, at the logits' own resolution."""
    masks: int = 0
    """The epoch's training masks."""
    seconds: float = 0.0
    """Spent training in this epoch."""
    datasets: dict[str, dict[str, float]] = field(default_factory=dict)
    """Of each dataset among several: `loss` times `samples`, `iou`, `masks` and `samples` of the epoch's steps."""
    skipped_steps: int = 0
    """Steps in a row that were left out for a loss that was not finite."""
    best: dict[str, Any] | None = None
    """The best validation result so far."""
    skipped: list[str] = field(default_factory=list)
    """Lines about files that could not be read."""
    log_size: int = 0
    """Bytes of `metrics.jsonl`."""

    def next_epoch(self) -> None:
        """Begin the next one."""
        self.epoch += 1
        self.epoch_step = self.masks = 0
        self.loss = self.iou = self.seconds = 0.0
        self.datasets = {}

    @property
    def train_record(self) -> dict[str, Any]:
        """The epoch's means."""
        means = {"train_loss": self.loss / max(self.epoch_step, 1), "train_giou": self.iou / max(self.masks, 1)}
        return {**means, **({"train_datasets": self.dataset_means} if self.datasets else {})}

    @property
    def dataset_means(self) -> dict[str, dict[str, float]]:
        """The epoch's means of each dataset."""
        return {
            name: {
                "loss": of["loss"] / max(of["samples"], 1),
                "giou": of["iou"] / max(of["masks"], 1),
                "masks": of["masks"],
                "samples": of["samples"],
            }
            for name, of in self.datasets.items()
        }

    def add(self, datasets: dict[str, dict[str, float]]) -> None:
        """Count what a step did with each dataset."""
        for name, step in datasets.items():
            of = self.datasets.setdefault(name, dict.fromkeys(("loss", "iou", "masks", "samples"), 0.0))
            of["loss"] += step["loss"] * step["samples"]
            of["iou"] += step["giou"] * step["masks"]
            of["masks"] += step["masks"]
            of["samples"] += step["samples"]
