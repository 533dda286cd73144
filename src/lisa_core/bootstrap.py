"""Bootstrap over pictures: how much a figure would change with other pictures of the same kind.

Whole pictures are drawn, with all their sentences: those of one picture succeed and fail together, and drawing them
one by one would make the intervals too narrow (the cluster bootstrap; Davison and Hinkley, 1997, section 3.8).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

RESAMPLES = 1000
"""How often pictures are drawn anew."""
CONFIDENCE = 0.95
"""Share of the resamples that an interval holds."""

_CHUNK = 2_500_000  # weights held at a time: 20 MB


def by_picture(rows: np.ndarray, pictures: Sequence[str]) -> np.ndarray:
    """Rows [N,K] summed for each of P pictures, float64 [P,K], in the order in which the pictures come first."""
    numbers = {picture: k for k, picture in enumerate(dict.fromkeys(pictures))}
    sums = np.zeros((len(numbers), rows.shape[1]))
    np.add.at(sums, [numbers[picture] for picture in pictures], rows)
    return sums


def resampled(sums: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> np.ndarray:
    """Totals over pictures drawn with replacement, as many as there are.

    Args:
        sums: float64 [P,K], what each picture adds.
        resamples: R.
        seed: the same one draws the same pictures, whatever K is.

    Returns:
        float64 [R,K].
    """
    parts = [weights @ sums for weights in _weights(len(sums), resamples, seed)]
    return np.concatenate(parts) if parts else np.zeros((0, sums.shape[1]))


def interval(values: np.ndarray, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """The percentile interval of a resampled figure, resamples without the figure (NaN) left out; None if all are."""
    known = values[~np.isnan(values)]
    if not known.size:
        return None
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _weights(pictures: int, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """How often each picture was drawn, float64 [r,P], in parts that together have `resamples` rows."""
    rng = np.random.default_rng(seed)
    most = max(_CHUNK // max(pictures, 1), 1)
    for done in range(0, resamples, most):
        rows = min(most, resamples - done)
        drawn = rng.integers(pictures, size=(rows, pictures)) + np.arange(rows)[:, None] * pictures
        yield np.bincount(drawn.ravel(), minlength=rows * pictures).reshape(rows, pictures).astype(np.float64)
