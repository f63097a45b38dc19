"""Fixed ways through a package: the same blocks for every input, which is what a network without routing would do.

The yardstick of every router that skips: one that is no better than the best fixed ways has learned nothing but static
pruning.
"""

from collections.abc import Mapping
from itertools import pairwise, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration.traverse import Stages, Traversal, traverse
from service.package.graph import StageGraph
from service.routing.base import LEAVE, Routing
from service.routing.early_exit import softmax


class FixedWays:
    """A router whose price is the index of a way; `ways` bool [W, S]: which stages run."""

    def __init__(self, stages: Stages, ways: NDArray[np.bool_]) -> None:
        self._answers = [stage.answer for stage in stages.manifest.stages]
        self._next = np.array([_after(stages.graph, stage, ways) for stage in range(len(stages.graph.names))], np.int16)

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`."""
        after, name = self._next[stage][prices.astype(np.int64)], self._answers[stage]
        return Routing(after) if name is None else Routing(after, softmax(outputs[name]))


def _after(graph: StageGraph, stage: int, ways: NDArray[np.bool_]) -> NDArray[np.int16]:
    """By way, the first stage after this one that it runs, or LEAVE."""
    after = np.array([*graph.after[stage], LEAVE], np.int16)
    runs = np.concatenate([ways[:, after[:-1]], np.ones((len(ways), 1), bool)], axis=1)
    return np.asarray(after[runs.argmax(axis=1)])


def possible(graph: StageGraph) -> NDArray[np.bool_]:
    """Every way from the first stage to an exit, bool [W, S]."""
    found = []
    for ran in product((False, True), repeat=len(graph.names)):
        if ran[0] and _walkable(graph, np.flatnonzero(ran).tolist()):
            found.append(ran)
    return np.array(found)


def _walkable(graph: StageGraph, way: list[int]) -> bool:
    steps = all(after in graph.after[stage] for stage, after in pairwise(way))
    return steps and graph.exit_of[way[-1]] >= 0


def walk_all(stages: Stages, ways: NDArray[np.bool_], images: NDArray[np.uint8]) -> Traversal:
    """Each way for every image; the traversal's prices are the ways. Its answers have the temperature 1."""
    router = FixedWays(stages, ways)
    return traverse(stages, router, {"image": images}, np.arange(len(ways), dtype=np.float64))


def best(macs: NDArray[np.int64], right: NDArray[np.floating]) -> list[int]:
    """Places of the ways that no cheaper one equals, cheapest first; `macs` and shares of right answers, [W]."""
    chosen: list[int] = []
    for place in np.lexsort((-right, macs)).tolist():
        if not chosen or right[place] > right[chosen[-1]]:
            chosen.append(place)
    return chosen
