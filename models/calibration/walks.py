"""Walks of a whole split, replayed for any price from what every exit said."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.calibration.gain_maps import GainMaps
from service.core import CHEAPEST, FULL
from service.routing.early_exit import softmax, worth

MENU = 100
"""Prices on the path, at most."""


@dataclass(frozen=True)
class ExitAnswers:
    """What every exit said of n samples.

    Attributes:
        scores: float32 [n, K], largest calibrated probability.
        predictions: int16 [n, K].
        labels: int16 [n].
    """

    scores: NDArray[np.float32]
    predictions: NDArray[np.int16]
    labels: NDArray[np.int16]

    @classmethod
    def of(
        cls, logits: NDArray[np.float32], temperature: NDArray[np.float32], labels: NDArray[np.integer]
    ) -> "ExitAnswers":
        """From the exits' logits [K, n, classes], in the server's arithmetic (float32 softmax)."""
        answers = [softmax(of_exit / divisor) for of_exit, divisor in zip(logits, temperature, strict=True)]
        scores = np.stack([answer.max(axis=1) for answer in answers], axis=1)
        predictions = np.stack([answer.argmax(axis=1) for answer in answers], axis=1)
        return cls(scores, predictions.astype(np.int16), labels.astype(np.int16))

    @property
    def right(self) -> NDArray[np.bool_]:
        """bool [n, K]."""
        return np.asarray(self.predictions == self.labels[:, None])


@dataclass(frozen=True)
class Walks:
    """n walks at each of P prices (or settings): `predictions` int16, `exits` int8, `macs` int64, all [P, n]."""

    predictions: NDArray[np.int16]
    exits: NDArray[np.int8]
    macs: NDArray[np.int64]

    @classmethod
    def leaving(
        cls, answers: ExitAnswers, leaves: Sequence[NDArray[np.bool_]], exit_macs: NDArray[np.int64]
    ) -> "Walks":
        """From who would leave where: one bool [n, K-1] per price; the last exit takes the rest."""
        last = np.ones((len(answers.labels), 1), bool)
        exits = np.stack([np.hstack([each, last]).argmax(axis=1) for each in leaves])
        predictions = np.take_along_axis(answers.predictions, exits.T, axis=1).T
        return cls(predictions, exits.astype(np.int8), exit_macs[exits])

    def accuracy(self, labels: NDArray[np.integer]) -> NDArray[np.float64]:
        """Share of right answers at each price, float64 [P]."""
        return np.asarray((self.predictions == labels).mean(axis=1))

    def agreement(self, full: NDArray[np.integer]) -> NDArray[np.float64]:
        """Share of answers equal to `full` int [n], float64 [P]."""
        return np.asarray((self.predictions == full).mean(axis=1))


def price_path(maps: GainMaps, exit_macs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Full, 0, then values at which some score bin changes its mind, then cheapest: float64 [at most MENU].

    Prices between two such values make the same walks, so nothing else needs a place on the menu.
    """
    return menu(worth(maps.gain, exit_macs))


def menu(turning: NDArray[np.floating], least: float = 0.0) -> NDArray[np.float64]:
    """Full, 0, at most MENU - 3 of the prices at which some walk changes, spread over them, then cheapest.

    Only prices above `least` count: below 0 a walk takes compute that is not expected to buy anything.
    """
    distinct = np.unique(turning)
    distinct = distinct[(distinct > least) & (distinct != 0)]
    kept = np.unique(np.linspace(0, len(distinct) - 1, min(len(distinct), MENU - 3)).round().astype(int))
    return np.concatenate([[FULL], np.sort(np.append(distinct[kept], 0.0)), [CHEAPEST]])


def by_price(answers: ExitAnswers, maps: GainMaps, exit_macs: NDArray[np.int64], prices: NDArray[np.float64]) -> Walks:
    """The early-exit router's walks: go on where the best gain per GMAC is above the price."""
    value = worth(maps.gain, exit_macs)
    places = [
        np.searchsorted(edges[1:-1], score, side="right")
        for edges, score in zip(maps.edges, answers.scores.T, strict=False)
    ]
    going_on = np.stack([value[exit_place, place] for exit_place, place in enumerate(places)], axis=1)
    return Walks.leaving(answers, [(going_on <= price) & (price != FULL) for price in prices], exit_macs)


def by_threshold(answers: ExitAnswers, exit_macs: NDArray[np.int64], thresholds: NDArray[np.float64]) -> Walks:
    """The baseline: leave at the first exit whose score reaches one threshold common to all exits."""
    return Walks.leaving(answers, [answers.scores[:, :-1] >= threshold for threshold in thresholds], exit_macs)
