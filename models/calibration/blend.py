"""Recycling of earlier heads: an exit answers with its own logits plus a share of what the exits before it said.

A product of experts (Wolczyk et al., "Zero Time Waste", NeurIPS 2021; Jazbec et al., NeurIPS 2023). The mix is ten
numbers of state.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.calibration.temperature import fit_temperature, negative_log_likelihood

Logits = NDArray[np.float32]
CANDIDATES = tuple(round(0.05 * step, 2) for step in range(31))


def blended(own: Sequence[Logits], weights: Sequence[float]) -> list[Logits]:
    """Each exit's own logits [n, classes] to what it answers: own_k + weight_k * answer_{k-1}; weight_0 is unused."""
    answers = [own[0]]
    for logits, weight in zip(own[1:], weights[1:], strict=True):
        answers.append(logits + np.float32(weight) * answers[-1])
    return answers


def fit_blend(own: Sequence[Logits], labels: NDArray[np.integer]) -> list[float]:
    """Weights, one an exit (the first 0): each exit's likelihood is best at its best temperature."""
    weights, answer = [0.0], own[0]
    for logits in own[1:]:
        losses = [_loss(logits + np.float32(weight) * answer, labels) for weight in CANDIDATES]
        weights.append(CANDIDATES[int(np.argmin(losses))])
        answer = logits + np.float32(weights[-1]) * answer
    return weights


def _loss(logits: Logits, labels: NDArray[np.integer]) -> float:
    return negative_log_likelihood(logits / fit_temperature(logits, labels), labels)
