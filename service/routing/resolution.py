"""Resolution: look at a small copy, then climb to larger ones while that is worth its price, in steps or straight.

RANet (Yang et al., CVPR 2020) climbs while it is unsure, DRNet (Zhu et al., NeurIPS 2021) predicts the resolution from
a first look. Both are one rule here: from each look every larger one may follow, and for a calibrated score a table
tells which of them, or none, had the best expected correctness less price x GMACs when all later decisions are taken
as well as they can be (backward induction over the router split, models/calibration/climbing.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import PackageError
from service.package.graph import StageGraph
from service.package.load import Package
from service.package.manifest import FILE
from service.routing.base import LEAVE, Routing, register
from service.routing.early_exit import softmax


@register("resolution")
class Resolution:
    """Looks at rising resolutions, each with an exit.

    Tables for K stages, B score bins and M prices: `temperature` float32 [K]; `score_edges` float32 [K, B+1];
    `knot_prices` float64 [M], strictly rising from -inf; `choice` int16 [M, K, B], the stage that follows from each of
    those prices on; `leave_price` float64 [K, B], the price from which on a walk leaves instead.
    """

    def __init__(self, package: Package) -> None:
        tables = _tables(package)
        self._answers = [package.manifest.stages[kind].answer or "" for kind in package.graph.stage_of]
        self._temperature = tables["temperature"]
        self._edges = [edges[1:-1] for edges in tables["score_edges"]]
        self._knots = tables["knot_prices"]
        self._choice = tables["choice"].astype(np.int16)
        self._worth = tables["leave_price"].astype(np.float64)

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The score is the largest calibrated probability; a higher price is expected to cost
        less, on average over inputs of that score."""
        answer = softmax(outputs[self._answers[stage]] / self._temperature[stage])
        score = np.maximum.reduce(answer, axis=1)
        place = self._edges[stage].searchsorted(score, side="right")
        worth = self._worth[stage].take(place)
        knot = np.maximum(self._knots.searchsorted(prices, side="right") - 1, 0)
        after = np.where(worth > prices, self._choice[knot, stage, place], np.int16(LEAVE))
        return Routing(after.astype(np.int16), answer, score, worth)


def dearest(graph: StageGraph) -> list[int]:
    """For each place the next one on its dearest way to an end; LEAVE at the ends."""
    total, way = [0] * len(graph.macs), [LEAVE] * len(graph.macs)
    for place in reversed(range(len(graph.macs))):
        if graph.after[place]:
            way[place] = max(graph.after[place], key=lambda after: total[after])
        total[place] = graph.macs[place] + (total[way[place]] if graph.after[place] else 0)
    return way


_PROMISES = {
    "temperature": "values must be above 0",
    "score_edges": "values must not fall along the bins",
    "knot_prices": "must rise strictly from -inf",
    "choice": "must name stages that may follow, the dearest ones from -inf on; -1 where none may",
    "leave_price": "needs numbers from 0 on, and -inf where no stage may follow",
}


def _tables(package: Package) -> Mapping[str, NDArray[Any]]:
    """The tables, once they are known to fit the package's stages."""
    graph, tables = package.graph, package.tables
    if not graph.anytime:
        problem, remedy = "router resolution needs an exit after every stage", "fuse stages without exit"
        raise PackageError(package.path / FILE, "stages", problem, remedy)
    count = len(graph.names)
    bins = tables["leave_price"].shape[-1] if "leave_price" in tables and tables["leave_price"].ndim else 0
    knots = tables["knot_prices"].size if "knot_prices" in tables else 0
    shapes = {
        "temperature": (count,),
        "score_edges": (count, bins + 1),
        "knot_prices": (knots,),
        "choice": (knots, count, bins),
        "leave_price": (count, bins),
    }
    for name, shape in shapes.items():
        found = tables[name].shape if name in tables else None
        if found != shape or not bins or not knots:
            raise _misfit(package, name, f"shape {found}, expected {shape} with one or more bins and prices")
    for name, fits in _values(tables, graph).items():
        if not fits:
            raise _misfit(package, name, _PROMISES[name])
    return tables


def _values(tables: Mapping[str, NDArray[Any]], graph: StageGraph) -> dict[str, bool]:
    """For each table, whether its values are what routing counts on; NaN never is."""
    knots, choice, leave = tables["knot_prices"], tables["choice"], tables["leave_price"]
    ends = np.array([not after for after in graph.after])
    known = all(
        set(np.unique(choice[:, place]).tolist()) <= set(after or (LEAVE,)) for place, after in enumerate(graph.after)
    )
    return {
        "temperature": bool(np.all((tables["temperature"] > 0) & np.isfinite(tables["temperature"]))),
        "score_edges": bool(np.all(tables["score_edges"][:, 1:] >= tables["score_edges"][:, :-1])),
        "knot_prices": bool(knots[0] == -np.inf and np.all(knots[1:] > knots[:-1])),
        "choice": known and bool(np.all(choice[0] == np.array(dearest(graph))[:, None])),
        "leave_price": bool(np.all(leave[~ends] >= 0) and np.all(leave[ends] == -np.inf)),
    }


def _misfit(package: Package, table: str, problem: str) -> PackageError:
    file = package.path / package.manifest.calibration.file
    return PackageError(file, table, problem, "make it again with the package's recipe")
