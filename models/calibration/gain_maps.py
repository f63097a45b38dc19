"""Gain maps: how much more often a later exit is right, as a falling step function of the score at this exit.

Whether an exit is right is judged by the last exit's calibrated probability of its answer, not by the label: the
same expectation where the last exit is calibrated, with far less noise. On halves of the router split this gave up to
half a point more agreement at equal MACs than counting right answers did.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class GainMaps:
    """For K exits and B score bins.

    Attributes:
        edges: float32 [K-1, B+1], bin edges of the score at each exit but the last, about equally filled.
        gain: float32 [K-1, K, B], expected gain in correctness of going on from exit k and stopping at j; 0 for j <= k.
    """

    edges: NDArray[np.float32]
    gain: NDArray[np.float32]


def expected_correctness(last: NDArray[np.floating], predictions: NDArray[np.integer]) -> NDArray[np.float64]:
    """Probability that each exit's answer is right, float64 [n, K], as the last exit sees it.

    Args:
        last: calibrated probabilities of the last exit, [n, classes].
        predictions: answers of every exit, int [n, K].
    """
    return np.take_along_axis(last.astype(np.float64), predictions.astype(np.int64), axis=1)


def fit_gain_maps(scores: NDArray[np.float32], correctness: NDArray[np.floating], bins: int) -> GainMaps:
    """Gain maps from a split's scores [n, K] and each exit's (expected) correctness [n, K]."""
    exits = scores.shape[1]
    edges = np.zeros((exits - 1, bins + 1), np.float32)
    gain = np.zeros((exits - 1, exits, bins), np.float32)
    for here in range(exits - 1):
        edges[here] = np.quantile(scores[:, here], np.linspace(0, 1, bins + 1))
        place = np.searchsorted(edges[here, 1:-1], scores[:, here], side="right")
        counts = np.bincount(place, minlength=bins)
        for later in range(here + 1, exits):
            difference = correctness[:, later] - correctness[:, here]
            sums = np.bincount(place, weights=difference, minlength=bins)
            means = sums / np.maximum(counts, 1)
            gain[here, later] = non_increasing(means, counts.astype(np.float64))
    return GainMaps(edges, gain)


def non_increasing(values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weighted least-squares fit that never rises, by pool-adjacent-violators (Ayer et al., 1955).

    Weights may be 0 (an empty bin): such a value joins a neighbour's pool without moving it.
    """
    pools: list[list[float]] = []  # mean, weight, length
    for value, weight in zip(values, weights, strict=True):
        pools.append([float(value), float(weight), 1.0])
        while len(pools) > 1 and (pools[-2][0] < pools[-1][0] or pools[-1][1] == 0):
            mean, mass, length = pools.pop()
            total = pools[-1][1] + mass
            if total > 0:
                pools[-1][0] = (pools[-1][0] * pools[-1][1] + mean * mass) / total
            pools[-1][1], pools[-1][2] = total, pools[-1][2] + length
    return np.repeat([pool[0] for pool in pools], [int(pool[2]) for pool in pools])
