"""Hidden states centred and scaled by running statistics, so that what tells them apart is not lost in the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_MEMORY = 20_000
"""States that the statistics are means over; of more, the earlier ones are forgotten little by little."""
_ENOUGH = 32
"""States without which nothing is known of a channel's mean and deviation."""
_LEAST = 1e-2
"""Added to each channel's deviation: a channel that hardly varies is not blown up."""


class Standardization(nn.Module):
    """Each channel of hidden states less its running mean, over its running deviation: [M,L,D] -> the same.

    The hidden states of a language model share one large mean and a few channels of large values (arXiv:1909.00512,
    section 4.1; arXiv:2402.17762, section 2), so that those of two sentences are nearly the same vector, and layers
    that read them learn slowly what differs. Each state is brought to unit variance first, which takes its size away.

    The statistics are applied as batch normalization does at inference (arXiv:1502.03167, section 3.1), in training
    too: a batch has few sentences. Of several processes they are of all states together, so that all have the same
    ones. States that are not finite are not heard.

    Args:
        channels: D.
    """

    mean: Tensor
    variance: Tensor
    heard: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("heard", torch.zeros(()))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Standardize, in training by statistics that these states have become part of; every process has to call it.

        Args:
            states: float [M,L,D].
            mask: bool [M,L], True where a state counts for the statistics.
        """
        states = F.layer_norm(states, states.shape[-1:])
        if self.training:
            self._hear(states.detach(), mask)
        known = self.heard >= _ENOUGH
        mean = torch.where(known, self.mean, 0.0)
        deviation = torch.where(known, self.variance.sqrt(), 1.0)
        return (states - mean) / (deviation + _LEAST)

    @torch.no_grad()
    def _hear(self, states: Tensor, mask: Tensor) -> None:
        """Make the states [M,L,D] that the mask [M,L] names part of the statistics."""
        counts = (mask & states.isfinite().all(-1))[..., None]
        states = torch.where(counts, states, 0.0)
        summed = _of_all(torch.cat([counts.sum()[None], states.sum((0, 1))]))
        count, mean = summed[0], summed[1:] / summed[0].clamp(min=1)
        # Apart from their own mean: a difference of two large sums would have lost what a channel varies by.
        apart = torch.where(counts, states - mean, 0.0)
        variance = _of_all(apart.square().sum((0, 1))) / count.clamp(min=1)
        self.heard.add_(count).clamp_(max=_MEMORY)
        share = (count / self.heard.clamp(min=1)).clamp(max=1)
        # Of the old and the new states together: what varies within them, and between their means.
        self.variance.lerp_(variance, share).add_(share * (1 - share) * (mean - self.mean).square())
        self.mean.lerp_(mean, share)


def _of_all(values: Tensor) -> Tensor:
    """The sum of what all processes have."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(values)
    return values
