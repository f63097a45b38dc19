"""Tables of the router `resolution`: which larger look, if any, to take after each, by backward induction.

From the last look back: what an input of a score is expected to win by a larger look, and by those that may follow it
when each is taken where it pays, less price x GMACs. The same rule stops (optimal stopping) and chooses how far to
climb at once.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.calibration.gain_maps import non_increasing
from service.package.graph import StageGraph
from service.routing.base import LEAVE
from service.routing.resolution import dearest

KNOTS = np.concatenate([[-np.inf, 0.0], np.geomspace(0.002, 60.0, 64)])
"""Prices at which the induction is done; between two of them the choice of the lower one holds."""

Way = tuple[int, ...]
"""Places from the first on."""


@dataclass(frozen=True)
class Seen:
    """At the end of a way, for n samples: `score` float32 [n], `correct` float64 [n], the answer's (expected)
    correctness."""

    score: NDArray[np.float32]
    correct: NDArray[np.float64]


@dataclass(frozen=True)
class Climbing:
    """`edges` float32 [K, B+1], `choice` int16 [M, K, B], `leave_price` float64 [K, B], for the router."""

    edges: NDArray[np.float32]
    choice: NDArray[np.int16]
    leave_price: NDArray[np.float64]


def fit_climbing(ways: Mapping[Way, Seen], graph: StageGraph, bins: int) -> Climbing:
    """Tables from samples that were sent along the ways (0, place) and (0, place, later place), where those exist.

    What came before a place is taken for (0, place): its score is expected to hold what matters of it.
    """
    count = len(graph.names)
    to = {place: (0,) if place == 0 else (0, place) for place in range(count)}
    edges = np.stack([np.quantile(ways[to[place]].score, np.linspace(0, 1, bins + 1)) for place in range(count)])
    forced = np.array(dearest(graph), np.int16)
    choice = np.broadcast_to(forced[:, None], (len(KNOTS), count, bins)).copy()
    best = np.full((len(KNOTS), count, bins), -np.inf)
    for knot, price in enumerate(KNOTS[1:], start=1):
        value = np.zeros((count, bins))
        for place in reversed(range(count)):
            if not graph.after[place]:
                continue
            worths = np.stack(
                [
                    _worth(ways[to[place]], ways[(*to[place], after)], edges[place], edges[after], value[after])
                    - price * graph.macs[after] / 1e9
                    for after in graph.after[place]
                ]
            )
            best[knot, place] = worths.max(axis=0)
            choice[knot, place] = np.array(graph.after[place])[worths.argmax(axis=0)]
            value[place] = np.maximum(best[knot, place], 0.0)
    leave = np.stack([_leaving(best[1:, place]) for place in range(count)])
    leave[forced == LEAVE] = -np.inf
    return Climbing(edges.astype(np.float32), choice, leave)


def _worth(
    here: Seen, there: Seen, edges: NDArray[np.floating], edges_there: NDArray[np.floating], value: NDArray[np.float64]
) -> NDArray[np.float64]:
    """What going on is expected to win, by score bin here: float64 [B], never rising with the score."""
    later = value[_bins(edges_there, there.score)]
    place = _bins(edges, here.score)
    counts = np.bincount(place, minlength=len(edges) - 1)
    sums = np.bincount(place, weights=there.correct - here.correct + later, minlength=len(edges) - 1)
    return non_increasing(sums / np.maximum(counts, 1), counts.astype(np.float64))


def _bins(edges: NDArray[np.floating], score: NDArray[np.floating]) -> NDArray[np.int64]:
    return np.asarray(np.searchsorted(edges[1:-1], score, side="right"))


def _leaving(best: NDArray[np.float64]) -> NDArray[np.float64]:
    """The price at which each bin's worth [M - 1, B] falls to 0, between knots by a straight line: float64 [B]."""
    prices = KNOTS[1:]
    found = np.zeros(best.shape[1])
    for place, column in enumerate(best.T):
        above = np.flatnonzero(column > 0)
        if len(above):
            last = int(above[-1])
            if last + 1 == len(prices):
                found[place] = prices[-1]
                continue
            share = column[last] / (column[last] - column[last + 1])
            found[place] = prices[last] + share * (prices[last + 1] - prices[last])
    return found
