"""Hidden states centred and scaled by running statistics, so that what tells them apart is not lost in the rest."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_LATEST = 0.005
"""Least share of a batch in the running statistics, which are plain means until so many batches have been."""
_LEAST = 1e-2
"""Added to each channel's deviation: a channel that hardly varies is not blown up."""


class Standardization(nn.Module):
    """Each channel of hidden states less its running mean, over its running deviation: [M,L,D] -> the same.

    The hidden states of a language model share one large mean and a few channels of large values (arXiv:1909.00512,
    section 4.1; arXiv:2402.17762, section 2), so that those of two sentences are nearly the same vector, and layers
    that read them learn slowly what differs. Each state is brought to unit variance first, which takes its size away.

    The statistics are those of batch normalization (arXiv:1502.03167, section 3.1) at inference, in training too: a
    batch has few sentences. They are averages over all batches so far, later over the last 200 or so. Several
    processes with one model all use the first one's, which DistributedDataParallel hands to the others.

    Args:
        channels: D.
    """

    mean: Tensor
    variance: Tensor
    batches: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(channels))
        self.register_buffer("variance", torch.ones(channels))
        self.register_buffer("batches", torch.zeros(()))

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Standardize, in training by statistics that these states have become part of.

        Args:
            states: float [M,L,D].
            mask: bool [M,L], True where a state counts for the statistics.
        """
        states = F.layer_norm(states, states.shape[-1:])
        if self.training:
            self._hear(states.detach()[mask])
        return (states - self.mean) / (self.variance.sqrt() + _LEAST)

    @torch.no_grad()
    def _hear(self, states: Tensor) -> None:
        """Average states [T,D] into the statistics."""
        if not len(states):
            return
        self.batches += 1
        share = (1 / self.batches).clamp(min=_LATEST)
        variance, mean = torch.var_mean(states, 0, correction=0)
        # Of the two together: that within them, and that between their means.
        self.variance.lerp_(variance, share).add_(share * (1 - share) * (mean - self.mean).square())
        self.mean.lerp_(mean, share)
