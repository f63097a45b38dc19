"""A reader that stops: both ends first, then on from the front or the back, until going on isn't worth its price.

ReasoNet (KDD 2017) learns when to stop by reinforcement; Ringel et al. (ICML 2024) by a score and a certificate. Here
the gain map of a group of walks tells, for a score, what reading on is expected to bring, and the walk stops where that
per GMAC is not above the price.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import PackageError
from service.package.load import Package
from service.package.manifest import FILE
from service.routing.base import Routing, register
from service.routing.reading import Course, Stops, looks

ORDERS = {
    "ends": "the first chunk, the last, then on from the front",
    "back": "the last chunk, the first, then on from the back; the first look has to be at the last",
    "front": "one after the other",
}


@register("reader-stop")
class ReaderStop:
    """Both ends first: a review's verdict is often at its end.

    Parameters: `order`, one of `ORDERS`, `ends` unless told. Tables: see `Stops`.
    """

    def __init__(self, package: Package) -> None:
        self._course, self._stops = Course.of(package), Stops.of(package)
        self._order = str(package.manifest.router.parameters.get("order", "ends"))
        if self._order not in ORDERS:
            problem = f"order is {self._order!r}"
            raise PackageError(package.path / FILE, "router", problem, f"one of {', '.join(ORDERS)}")

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The signal: how many chunks are unread."""
        course = self._course
        lap = course.lap[stage]
        answer, score = self._stops.answer(outputs[course.answer[stage]], lap)
        size = outputs["size"][:, 0]
        rest = np.maximum(size - lap, 0)
        worth = self._stops.worth(lap, rest, score)
        if course.on[stage] < 0:
            worth = np.full(len(prices), -np.inf)
        stays = worth > prices
        return Routing(
            course.following(stage, stays),
            answer,
            score,
            worth,
            {"unread": rest},
            look=looks(stays, following(self._order, lap, size)),
            full=course.full(outputs),
        )


def following(order: str, lap: int, size: NDArray[np.floating]) -> NDArray[np.floating]:
    """The chunk that is read after so many, in texts of those sizes: [rows]."""
    if order == "ends" and lap == 1:
        return size - 1
    if order == "back":
        return size - lap if lap > 1 else np.zeros(len(size))
    return np.full(len(size), lap if order == "front" else lap - 1)
