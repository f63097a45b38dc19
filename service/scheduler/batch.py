"""What the conductor hands out: batches to run, and walks that are over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.core import Outcome, Price, Release, Walker


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Walkers that stand at one stage and run it together.

    Attributes:
        paid: what each pays, [rows].
        prices: what the router is told, float64 [rows]: the same, but FULL for audited walkers, so that the state of
            those that leave is kept for their shadows.
        own_prices: what each would pay if nothing were scarce, float64 [rows]; None where they do, or where the router
            has no choice.
        rows: that run; more than walkers where the stage is ragged.
    """

    model: str
    stage: int
    walkers: list[Walker]
    paid: list[Price]
    prices: NDArray[np.float64]
    started_at: float
    release: Release
    own_prices: NDArray[np.float64] | None = None
    rows: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """A walker whose walk is over, to be told so."""

    walker: Walker
    outcome: Outcome
