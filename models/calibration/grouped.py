"""Intervals for samples that come in groups (clips of one scene): whole groups are drawn again, not samples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DRAWS = 4000


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % percentile interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean * 100:.1f} ({self.low * 100:.1f} to {self.high * 100:.1f})"


def bootstrap(values: NDArray[np.floating], groups: NDArray[np.integer], seed: int = 0) -> Interval:
    """Of the mean of `values` [n], with `groups` int [n] drawn with replacement (Efron, 1979; by clusters)."""
    _, place = np.unique(groups, return_inverse=True)
    sums, sizes = np.bincount(place, weights=values), np.bincount(place)
    drawn = np.random.default_rng(seed).integers(len(sizes), size=(DRAWS, len(sizes)))
    means = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(values.mean()), float(low), float(high))
