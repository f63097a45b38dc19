"""Platt scaling (1999): scale and shift of logits so that their sigmoid is a probability."""

import numpy as np
from numpy.typing import NDArray

_RIDGE = 1e-3
SMALLEST = 1e-3
"""A scale is never below this: a higher value may not mean less."""


def fit_platt(logits: NDArray[np.floating], right: NDArray[np.bool_], steps: int = 50) -> tuple[float, float]:
    """The scale and shift that maximise the likelihood of `right` [n] given sigmoid(scale x logits + shift)."""
    x = np.stack([logits.astype(np.float64), np.ones(len(logits))], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(steps):
        share = 1 / (1 + np.exp(-(x @ weights)))
        slope = x.T @ (share - right) + _RIDGE * weights
        curvature = (x * (share * (1 - share))[:, None]).T @ x + _RIDGE * np.eye(2)
        weights = weights - np.linalg.solve(curvature, slope).clip(-2, 2)
    return max(float(weights[0]), SMALLEST), float(weights[1])
