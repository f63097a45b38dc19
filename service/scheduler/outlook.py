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
        reach: float64 [P, S, S], how often a walker that stands before stage s will run stage t at that price; 1 for
            s = t, since whoever waits at a stage is about to run it.
    """

    prices: tuple[float, ...]
    reach: NDArray[np.float64]

    @classmethod
    def of(cls, record: Record, graph: StageGraph) -> Outlook:
        """Outlook of the walks that the record saw."""
        by_price = [_reach(record.routes[routes], graph) for routes in record.route]
        return cls(tuple(record.prices.tolist()), np.stack(by_price))

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


def _reach(runs: NDArray[np.uint16], graph: StageGraph) -> Seconds:
    """How often walks that come to a stage run each stage from there on: float64 [S, S], from runs uint16 [n, S]."""
    comes = (runs > 0).astype(np.float32)
    walks = comes.sum(axis=0, dtype=np.float64)
    reach = np.triu((comes.T @ runs).astype(np.float64) / np.maximum(walks, 1.0)[:, None])
    for stage in np.flatnonzero(walks == 0):
        # Where nobody comes so far at this price, a walker that is here takes the shortest way out.
        reach[stage, graph.cheapest_way(int(stage))] = 1.0
    return np.asarray(reach)
