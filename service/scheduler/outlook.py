"""What a waiting walker still has to run: expected device seconds by stage and price, from the calibration record."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.core import Price
from service.package.graph import StageGraph
from service.package.record import Record

Seconds = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Outlook:
    """P prices by S stages.

    Attributes:
        prices: P of them, ascending: the record's path.
        reach: float64 [P, S, S], share of the walkers standing before stage s that will run stage t at that price; 1
            for s = t, since whoever waits at a stage is about to run it.
    """

    prices: tuple[float, ...]
    reach: NDArray[np.float64]

    @classmethod
    def of(cls, record: Record, graph: StageGraph) -> Outlook:
        """Outlook of a chain of stages: a walk that ends at an exit has run every stage up to it."""
        stage_of_exit = np.array([stage for stage, exit_of in enumerate(graph.exit_of) if exit_of >= 0])
        last = stage_of_exit[record.exits]
        runs = (last[:, :, None] >= np.arange(len(graph.names))).mean(axis=1)
        reach = np.stack([_given(runs, stage, graph) for stage in range(len(graph.names))], axis=1)
        return cls(tuple(record.prices.tolist()), reach)

    def seconds(self, per_row: Sequence[float]) -> Seconds:
        """Expected seconds from the start of a stage to the end of the walk, float64 [P, S].

        They never rise with the price. The record's shares may: those few who still come to a stage at a high price are
        the hard ones. But a given walker only ever stops sooner at a higher price.
        """
        return np.minimum.accumulate(self.reach @ np.asarray(per_row, np.float64), axis=0)

    def place(self, price: Price) -> int:
        """Index of the highest price of the path that is not above this one: its walks are no shorter."""
        return max(0, bisect_right(self.prices, price) - 1)

    def last_below(self, price: Price) -> int:
        """Index of the highest price of the path that is below this one, -1 if none is."""
        return bisect_left(self.prices, price) - 1


def _given(runs: Seconds, stage: int, graph: StageGraph) -> Seconds:
    """Share of walks that run each stage, given that they run `stage`: float64 [P, S]."""
    share = np.where(runs[:, [stage]] > 0, runs / np.maximum(runs[:, [stage]], 1e-12), 0.0)
    share[:, :stage] = 0.0
    # Where nobody comes so far at this price, a walker that is here leaves at the next exit.
    for after in range(stage, len(graph.names)):
        share[:, after] = np.where(runs[:, stage] > 0, share[:, after], 1.0)
        if graph.exit_of[after] >= 0:
            break
    return share
