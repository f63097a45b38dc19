"""What the routers that read clips have in common: the moments of a walk, their order, and when reading on stops
paying.

A clip is read at the middles of equal parts, as shares of its duration: so walks of long and short clips cost the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.package.load import Package
from service.routing.base import LEAVE, Routing
from service.routing.early_exit import gain_tables, softmax, worth

Looks = list[NDArray[np.float32] | None]


def moments(count: int) -> NDArray[np.float32]:
    """The middles of `count` equal parts, as shares of the duration: float32 [count, 1], ready for `Routing.look`."""
    return (((np.arange(count) + 0.5) / count).astype(np.float32))[:, None]


def coarse_to_fine(count: int) -> tuple[int, ...]:
    """Each of `count` moments once: the middle, the ends, then always the middle of the widest gap (FrameExit,
    2021)."""
    order = [(count - 1) // 2, *[place for place in (0, count - 1) if place != (count - 1) // 2]][:count]
    while len(order) < count:
        known = sorted(order)
        gaps = [(right - left, -left) for left, right in pairwise(known)]
        width, left = max(gaps)
        order.append(-left + width // 2)
    return tuple(order)


@dataclass(frozen=True, slots=True)
class Stops:
    """Which exits answer what, and from which price on a walk stops there rather than reading on.

    Tables, for K exits and B score bins: `temperature` float32 [K]; `gain_edges` float32 [K-1, B+1]; `gain` float32
    [K-1, K, B], expected gain in correctness of reading on from exit k to j; `exit_macs` int64 [K], MACs spent when
    exit k stands on the walk that skips nothing.
    """

    answers: Sequence[str | None]
    exit_of: Sequence[int]
    temperature: NDArray[np.float32]
    edges: Sequence[NDArray[np.float32]]
    worths: Sequence[NDArray[np.float64]]

    @classmethod
    def of(cls, package: Package) -> Stops:
        """The package's tables.

        Raises:
            PackageError: one is missing, of another shape, or holds what can't be reckoned with.
        """
        graph = package.graph
        tables = gain_tables(package)
        answers = [package.manifest.stages[stage].answer for stage in graph.stage_of]
        edges = [*tables["gain_edges"][:, 1:-1], np.empty(0, np.float32)]
        worths = [*worth(tables["gain"], tables["exit_macs"]), np.array([-np.inf])]
        return cls(answers, graph.exit_of, tables["temperature"].astype(np.float32), edges, worths)

    def judged(
        self, place: int, outputs: Mapping[str, NDArray[Any]], told: NDArray[np.float32] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]]:
        """The calibrated answer float32 [rows, classes], its score float32 [rows], and the worth of reading on.

        The gain maps are read at `told` float32 [rows] if that is given, else at the score.
        """
        name, exit_place = self.answers[place], self.exit_of[place]
        assert name is not None, "only places with an exit are judged"
        answer = softmax(outputs[name] / self.temperature[exit_place])
        score = np.maximum.reduce(answer, axis=1)
        bins = self.edges[exit_place].searchsorted(score if told is None else told, side="right")
        worths: NDArray[np.float64] = self.worths[exit_place].take(bins)
        return answer, score, worths


def onward(
    judged: tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64]],
    prices: NDArray[np.float64],
    after: int | None,
    look: Looks | None,
    signals: Mapping[str, NDArray[Any]] | None = None,
) -> Routing:
    """Read on at `after` where that is worth its price; where nothing follows, all leave."""
    answer, score, worths = judged
    rows = len(prices)
    if after is None:
        return Routing(np.full(rows, LEAVE, np.int16), answer, score, np.full(rows, -np.inf), signals)
    going = np.where(worths > prices, np.int16(after), np.int16(LEAVE))
    return Routing(going, answer, score, worths, signals, look=look)


def same(moment: NDArray[np.float32], rows: int) -> Looks:
    """One moment for every row; `moment` float32 [1], a share of the duration."""
    return [moment[None, :]] * rows
