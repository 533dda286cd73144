"""Loss and gIoU of each dataset of a run, summed over micro-batches and processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from lisa_core.losses import LossTerm
from lisa_core.vlm import Batch


class ByDataset:
    """The sums of one optimizer step, a row of numbers for each dataset.

    Args:
        names: the datasets; the same on all processes. None are counted without names.
        weights: of the loss terms.
    """

    def __init__(self, names: Sequence[str], weights: Mapping[str, float]) -> None:
        self.names = list(names)
        self.weights = dict(weights)
        self.columns = ["samples", "masks", "overlap", *self.weights, *(f"{name} count" for name in self.weights)]
        self.sums = torch.zeros(len(self.names), len(self.columns), dtype=torch.float64)

    def add(self, batch: Batch, terms: Mapping[str, LossTerm], iou: Tensor, rows: Tensor) -> None:
        """Count a micro-batch, whose rows say in `datasets` what they are of, in `turns` how many samples they hold.

        `iou` [K] is of the masks that were drawn, which belong to `rows` [K].
        """
        if not self.names:
            return
        number = torch.tensor([self.names.index(name) for name in batch["datasets"]])
        self._add("samples", number, batch["turns"])
        drawn = number[rows.cpu()]
        self._add("masks", drawn, torch.ones(len(drawn)))
        self._add("overlap", drawn, iou)
        for name, term in terms.items():
            if term.each is None or term.rows is None:
                continue
            of = number[term.rows.cpu()]
            self._add(name, of, term.each)
            self._add(f"{name} count", of, torch.ones(len(of)))

    def _add(self, column: str, dataset: Tensor, values: Tensor) -> None:
        self.sums[:, self.columns.index(column)].index_add_(0, dataset, values.detach().cpu().double())

    def flat(self) -> list[float]:
        """All sums, to be added up over processes."""
        found: list[float] = self.sums.flatten().tolist()
        return found

    def record(self, flat: Sequence[float]) -> dict[str, dict[str, float]]:
        """For each dataset of which there were samples: `loss`, weighted means over its own; `giou`, masks, samples."""
        found = {}
        for name, row in zip(self.names, torch.tensor(flat, dtype=torch.float64).reshape(self.sums.shape).tolist()):
            of = dict(zip(self.columns, row))
            if of["samples"]:
                loss = sum(weight * of[term] / max(of[f"{term} count"], 1) for term, weight in self.weights.items())
                giou = of["overlap"] / max(of["masks"], 1)
                found[name] = {"loss": loss, "giou": giou, "masks": of["masks"], "samples": of["samples"]}
        return found
