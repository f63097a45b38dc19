"""Risk control for a path of policies ordered by cost: which is the cheapest that a target still allows?

Learn-Then-Test (Angelopoulos et al., 2021) with fixed-sequence testing: walk the path from the safest policy, test
"its risk is above epsilon" with an exact binomial p-value for 0/1 losses or the Hoeffding-Bentkus p-value for losses in
[0, 1] (Bates et al., 2021), stop at the first that can't be rejected, serve the last one rejected. Then, over draws
of the calibration set, P(risk of the served policy <= epsilon) >= 1 - delta, for any model, data distribution and n.
It is a statement on the average over requests like the calibration data, not on each request.

Only numpy and the standard library: log-sums of log-gamma terms stand in for a statistics package.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Losses = Sequence[int] | Sequence[float] | NDArray[np.int64]
"""For each policy of a path what it lost: ints count, floats sum losses in [0, 1]."""


def binomial_cdf(k: int, n: int, p: float) -> float:
    """P(Bin(n, p) <= k), exact to rounding. `k` may be negative (0) or >= n (1)."""
    if k < 0:
        return 0.0
    if k >= n or p <= 0.0:
        return 1.0
    if p >= 1.0:
        return 0.0
    i = np.arange(k + 1)
    log_terms = _log_binomial(n, k) + i * math.log(p) + (n - i) * math.log1p(-p)
    peak = float(log_terms.max())
    return min(1.0, math.exp(peak) * float(np.exp(log_terms - peak).sum()))


def _log_binomial(n: int, k: int) -> NDArray[np.float64]:
    """log C(n, i) for i = 0..k, by a running sum."""
    i = np.arange(1, k + 1)
    return np.concatenate(([0.0], np.cumsum(np.log((n - i + 1) / i))))


def hoeffding_bentkus(total: float, n: int, epsilon: float) -> float:
    """p-value of "mean loss > epsilon" for n independent losses in [0, 1] that sum to `total`."""
    if epsilon >= 1.0:
        return 0.0
    mean = total / n
    if mean >= epsilon:
        return 1.0
    bentkus = math.e * binomial_cdf(math.ceil(total), n, epsilon)
    return min(1.0, bentkus, math.exp(-n * _kl(mean, epsilon)))


def _kl(a: float, b: float) -> float:
    """Kullback-Leibler divergence between Bernoulli(a) and Bernoulli(b), 0 < b < 1."""
    left = a * math.log(a / b) if a > 0 else 0.0
    right = (1 - a) * math.log((1 - a) / (1 - b)) if a < 1 else 0.0
    return left + right


def p_value(lost: int | float, n: int, epsilon: float) -> float:
    """p-value of "the risk is above epsilon": an int counts 0/1 losses, a float is the sum of losses in [0, 1]."""
    if isinstance(lost, float):
        return hoeffding_bentkus(lost, n, epsilon)
    return binomial_cdf(int(lost), n, epsilon)


def fixed_sequence(losses: Losses, n: int, epsilon: float, delta: float) -> int | None:
    """Index of the last policy that passes, walking from the safest; None when already the first fails.

    `losses[j]` is what policy j lost over the n calibration items, as `p_value` takes it.
    """
    passed = None
    for j, k in enumerate(losses):
        # A risk of 1 at most needs no proof, even where every item is a loss.
        if epsilon < 1.0 and p_value(k, n, epsilon) > delta:
            return passed
        passed = j
    return passed


def upper_bound(k: int | float, n: int, delta: float) -> float:
    """The smallest epsilon at which k lost of n pass at level delta, else 1.0. For counts: Clopper-Pearson."""
    if k >= n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if p_value(k, n, middle) <= delta else (middle, high)
    return high


def certified_risks(losses: Losses, n: int, delta: float) -> list[float]:
    """For each policy, the smallest target that fixed-sequence testing reaches it with: float64 [policies].

    A policy is served only if it and every safer one pass, so this is the running maximum of their upper bounds.
    """
    bounds = {k: upper_bound(k, n, delta) for k in set(losses)}
    return [float(risk) for risk in np.maximum.accumulate([bounds[k] for k in losses])]


def smallest_sample(epsilon: float, delta: float) -> int:
    """The fewest items that can certify epsilon at all, with not one loss among them."""
    return math.ceil(math.log(delta) / math.log1p(-epsilon))
