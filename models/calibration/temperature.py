"""Temperature scaling (Guo et al., ICML 2017): one divisor of the logits per exit, fitted by log-likelihood."""

import numpy as np
from numpy.typing import NDArray

LOWEST, HIGHEST = 0.05, 20.0
_GOLDEN = (np.sqrt(5.0) - 1.0) / 2.0


def log_softmax(logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Row-wise log-probabilities, float64 [n, classes]."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return np.asarray(shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True)))


def negative_log_likelihood(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """Mean of -log p(label), in nats; logits [n, classes], labels [n]."""
    return float(-log_softmax(logits)[np.arange(len(labels)), labels].mean())


def fit_temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The T in [0.05, 20] that minimises the likelihood's negative log of logits / T.

    Golden-section search over log T: the loss is convex in 1/T, hence has one minimum in log T.
    """
    low, high = np.log(LOWEST), np.log(HIGHEST)
    while high - low > 1e-4:
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if _loss(logits, labels, left) < _loss(logits, labels, right):
            high = right
        else:
            low = left
    return float(np.exp((low + high) / 2))


def _loss(logits: NDArray[np.floating], labels: NDArray[np.integer], log_temperature: float) -> float:
    return negative_log_likelihood(logits / np.exp(log_temperature), labels)
