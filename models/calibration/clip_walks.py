"""Walks over clips replayed from what was said at every moment: to find the knob that suits each price.

The server's routers decide the same (service/routing/frames.py and its neighbours); the tables that come out of here
were chosen on clips whose groups no part of the network had seen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration.stops import stop_tables
from models.calibration.walks import menu
from service.core import FULL
from service.routing.early_exit import softmax, worth


@dataclass(frozen=True)
class StopRule:
    """The gain maps as `Stops` reads them, exits by place in the walk that skips nothing."""

    edges: NDArray[np.float32]
    worths: NDArray[np.float64]

    @classmethod
    def of(cls, tables: dict[str, NDArray[np.generic]]) -> "StopRule":
        """From `stop_tables`."""
        return cls(tables["gain_edges"], worth(tables["gain"], tables["exit_macs"]))  # type: ignore[arg-type]

    def worth(self, exit_place: int, score: NDArray[np.float32]) -> NDArray[np.float64]:
        """What going on from an exit is worth: float64 [n]; -inf at the last one."""
        if exit_place >= len(self.worths):
            return np.full(len(score), -np.inf)
        place = self.edges[exit_place, 1:-1].searchsorted(score, side="right")
        return np.asarray(self.worths[exit_place].take(place))

    @property
    def prices(self) -> NDArray[np.float64]:
        """At which some walk changes."""
        return menu(self.worths)


def stopped(
    rule: StopRule,
    temperature: NDArray[np.float32],
    logits: NDArray[np.float32],
    took: NDArray[np.bool_],
    labels: NDArray[np.integer],
    price: float,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Walks that answer at the first exit where going on isn't worth the price.

    Args:
        rule: of the K exits.
        temperature: float32 [K].
        logits: what each exit says, [K, n, classes].
        took: bool [K, n], whether a walk comes by that exit; by the last one in any case.
        labels: int [n].
        price: per GMAC.

    Returns:
        Probability of the true class in the answer float64 [n], and the exit taken int64 [n].
    """
    n = len(labels)
    right, place, going = np.zeros(n), np.full(n, len(logits) - 1), np.ones(n, bool)
    for exit_place, (each, divisor) in enumerate(zip(logits, temperature, strict=True)):
        answer = softmax(each / divisor)
        leaves = going & took[exit_place] & (rule.worth(exit_place, answer.max(axis=1)) <= price)
        leaves |= going & (exit_place == len(logits) - 1)
        right[leaves] = answer[leaves, labels[leaves]]
        place[leaves] = exit_place
        going &= ~leaves
    return right, place


def knobs_by_price(
    prices: Sequence[float], grid: Sequence[float], judged: Callable[[float, float], tuple[float, float]]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Tables `knob_prices` and `knobs` of a knob that thins out: for each price the setting of the best value.

    Args:
        prices: above -inf, rising.
        grid: settings, rising, the first of which thins out nothing.
        judged: from (price, knob) to correctness and GMACs of the mean walk.
    """
    chosen = [0]
    for price in prices:
        values = [right - price * gmacs for right, gmacs in (judged(price, knob) for knob in grid[chosen[-1] :])]
        # Of equals the one that costs least; never a dearer one than at a lower price.
        best = max(range(len(values)), key=lambda place: (round(values[place], 9), place))
        chosen.append(chosen[-1] + best)
    every = np.array([FULL, *prices], np.float64)
    settings = np.array([grid[place] for place in chosen], np.float32)
    kept = np.append(True, np.diff(settings) > 0)
    return every[kept], settings[kept]


@dataclass(frozen=True)
class Skips:
    """Walks that don't stop, at G settings of the novelty from which on a frame is seen (the first: every frame).

    `grid` float32 [G], rising; `took` bool [G, laps, n], which frames were seen; `logits` float32 [G, laps, n,
    classes], the answer that stands after each lap, by heads that never saw the clip.
    """

    grid: NDArray[np.float32]
    took: NDArray[np.bool_]
    logits: NDArray[np.float32]

    def tables(self, labels: NDArray[np.integer], macs: Mapping[str, int]) -> dict[str, NDArray[Any]]:
        """Tables of the router `frames`: gain maps of the walk that skips nothing, and for each price the setting of
        the best value. `macs` of `peek`, `see` and `pool`."""
        laps, rows = np.arange(1, len(self.took[0]) + 1), np.arange(len(labels))
        found = stop_tables(self.logits[0], labels, laps * (macs["peek"] + macs["see"] + macs["pool"]))
        rule = StopRule.of(found)

        def judged(price: float, knob: float) -> tuple[float, float]:
            [place] = np.flatnonzero(self.grid == np.float32(knob))
            took = self.took[place]
            right, spent = stopped(rule, found["temperature"], self.logits[place], took, labels, price)
            seen = np.cumsum(took, axis=0)[spent, rows]
            cost = (spent + 1) * macs["peek"] + seen * (macs["see"] + macs["pool"])
            return float(right.mean()), float(cost.mean() / 1e9)

        prices = [price for price in rule.prices.tolist() if np.isfinite(price)][::4]
        knob_prices, knobs = knobs_by_price(prices, self.grid.tolist(), judged)
        return found | {"knob_prices": knob_prices, "knobs": knobs}


def moved(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """How far each lap but the first moved the answer: total variation, float32 [laps - 1, n], from logits [laps, n,
    classes]."""
    answers = np.stack([softmax(each) for each in logits])
    return np.asarray(np.abs(np.diff(answers, axis=0)).sum(axis=2) / 2)


def knobs_by_log_law(
    grid: Sequence[float], gmacs: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Tables `knob_prices` and `knobs` for settings from the dearest to the cheapest, by a law with one parameter.

    With some hundred clips the differences between neighbouring settings are mostly noise. So correctness is taken to
    grow with the logarithm of compute, as it does for frames of one clip; the fitted slope, never below a hundredth
    of a point for each doubling, gives every step a price.

    Args:
        grid: settings, dearest first.
        gmacs: of the mean walk, float64 [settings].
        right: probability of the true class, or accuracy, float64 [settings].
    """
    slope = max(float(np.polyfit(np.log2(gmacs), right, 1)[0]), 1e-4)
    kept = [0]
    for place in range(1, len(grid)):
        if gmacs[place] < gmacs[kept[-1]]:
            kept.append(place)
    if kept[-1] != len(grid) - 1:
        kept[-1] = len(grid) - 1
    steps = [
        slope * np.log2(gmacs[dear] / gmacs[cheap]) / (gmacs[dear] - gmacs[cheap]) for dear, cheap in pairwise(kept)
    ]
    return np.array([FULL, *np.maximum.accumulate(steps)]), np.array([grid[place] for place in kept], np.float32)
