"""When requests arrive: processes with a mean rate, as ascending times in seconds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Times = NDArray[np.float64]
Shape = Callable[[Times], Times]
"""Rate over time, relative to the mean: shares of the duration in 0..1 in, factors out; at most `_PEAK`."""

_PEAK = 4.0


def _steady(share: Times) -> Times:
    return np.ones_like(share)


def _bursts(share: Times) -> Times:
    """A tenth of the time at four times the mean, ten bursts in all."""
    return np.where((share * 10) % 1 < 0.1, 4.0, 2 / 3)


def _step(share: Times) -> Times:
    """Half the mean, then one and a half."""
    return np.where(share < 0.5, 0.5, 1.5)


def _diurnal(share: Times) -> Times:
    """A day: from almost nothing at night to nearly twice the mean at noon."""
    return 1 - 0.95 * np.cos(2 * np.pi * share)


SHAPES: dict[str, Shape] = {"poisson": _steady, "bursts": _bursts, "step": _step, "diurnal": _diurnal}


def arrivals(shape: str, *, rate: float, seconds: float, seed: int) -> Times:
    """Arrival times of a Poisson process whose rate follows a shape (thinning: Lewis and Shedler, 1979).

    Args:
        shape: a name in `SHAPES`.
        rate: mean arrivals per second.
        seconds: duration.
        seed: of the random numbers.
    """
    rng = np.random.default_rng(seed)
    peak = rate * _PEAK
    candidates = np.cumsum(rng.exponential(1 / peak, size=round(peak * seconds * 1.2) + 100))
    candidates = candidates[candidates < seconds]
    kept = rng.random(len(candidates)) * _PEAK < SHAPES[shape](candidates / seconds)
    return np.asarray(candidates[kept])
