"""Early exit: leave at the first exit where going on isn't worth its price.

Multi-exit networks (BranchyNet, Teerapittayanon et al. 2016; MSDNet, Huang et al. 2018) answer after each stage.
Instead of one confidence threshold for all exits, the gain map of exit k tells, for a score, how much more often a
later exit j is right; the walker goes on while the best of those gains per GMAC is above the price.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import PackageError
from service.package.load import Package
from service.package.manifest import FILE
from service.routing.base import LEAVE, Routing, misfit, register

_LEAVE = np.int16(LEAVE)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Row-wise softmax, float32 [rows, classes].

    Calls the ufuncs themselves and writes in place: between two stages each call of numpy's front end costs
    microseconds.
    """
    shares = logits - np.maximum.reduce(logits, axis=1, keepdims=True)
    np.exp(shares, out=shares)
    return np.divide(shares, np.add.reduce(shares, axis=1, keepdims=True), out=shares)


@register("early-exit")
class EarlyExit:
    """Exits on a chain of stages, each with an exit.

    Tables: `temperature` float32 [K] (Guo et al. 2017); `gain_edges` float32 [K-1, B+1], score bins of each exit but
    the last; `gain` float32 [K-1, K, B], expected gain in correctness of going on from k and stopping at j > k;
    `exit_macs` int64 [K], MACs spent when exit k stands.
    """

    def __init__(self, package: Package) -> None:
        exits = len(package.graph.exits)
        tables = _chain_tables(package)
        self._answers = [package.manifest.stages[kind].answer or "" for kind in package.graph.stage_of]
        self._temperature = tables["temperature"]
        # Inner edges only: scores beyond the router split's range fall into the outermost bins.
        self._edges = [*tables["gain_edges"][:, 1:-1], np.empty(0, np.float32)]
        self._worth = [*worth(tables["gain"], tables["exit_macs"]), np.array([-np.inf])]
        self._next = np.arange(1, exits + 1, dtype=np.int16)

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The score is the largest calibrated probability."""
        answer = softmax(outputs[self._answers[stage]] / self._temperature[stage])
        score = np.maximum.reduce(answer, axis=1)
        gained = self.worth_at(stage, score)
        # At the price "full", -inf, everybody goes on: a worth is never below 0, except at the last exit.
        return Routing(np.where(gained > prices, self._next[stage], _LEAVE), answer, score, gained)

    def worth_at(self, stage: int, score: NDArray[np.float32]) -> NDArray[np.float64]:
        """Price from which on a row of that score leaves: float64 [rows]; -inf at the last exit."""
        worths: NDArray[np.float64] = self._worth[stage].take(self._edges[stage].searchsorted(score, side="right"))
        return worths


def worth(gain: NDArray[np.float32], exit_macs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Best expected gain per GMAC of going on: float64 [K-1, B], never below 0.

    Args:
        gain: float32 [K-1, K, B].
        exit_macs: int64 [K].
    """
    exits = len(exit_macs)
    best = np.zeros((exits - 1, gain.shape[2]))
    for here in range(exits - 1):
        extra = (exit_macs[here + 1 :] - exit_macs[here]) / 1e9
        best[here] = np.maximum(gain[here, here + 1 :] / extra[:, None], 0.0).max(axis=0)
    return best


def gain_tables(package: Package) -> Mapping[str, NDArray[Any]]:
    """The tables of exits that leave by their gain, once they are known to fit the package's exits.

    Raises:
        PackageError: one is missing, of another shape, or holds what routing can't count on.
    """
    exits, tables = len(package.graph.exits), package.tables
    bins = tables["gain"].shape[-1] if "gain" in tables and tables["gain"].ndim else 0
    shapes = {
        "temperature": (exits,),
        "gain_edges": (exits - 1, bins + 1),
        "gain": (exits - 1, exits, bins),
        "exit_macs": (exits,),
    }
    for name, shape in shapes.items():
        found = tables[name].shape if name in tables else None
        if found != shape:
            raise misfit(package, name, f"shape {found}, expected {shape}")
    for name, fits in _values(tables).items():
        if not fits:
            raise misfit(package, name, _PROMISES[name])
    return tables


def _chain_tables(package: Package) -> Mapping[str, NDArray[Any]]:
    """The tables of a chain, whose exits cost what the manifest says."""
    graph = package.graph
    if not (graph.chain and graph.anytime):
        problem, remedy = "router early-exit needs a chain with an exit after every stage", "fuse stages without exit"
        raise PackageError(package.path / FILE, "stages", problem, remedy)
    tables = gain_tables(package)
    if not np.array_equal(tables["exit_macs"], np.cumsum(graph.macs)):
        raise misfit(package, "exit_macs", _PROMISES["exit_macs"] + ", as sums of the manifest's macs_per_row")
    return tables


_PROMISES = {
    "temperature": "values must be above 0",
    "gain_edges": "values must not fall along the bins",
    "gain": "needs one or more bins of finite values",
    "exit_macs": "must rise strictly",
}


def _values(tables: Mapping[str, NDArray[Any]]) -> dict[str, bool]:
    """For each table, whether its values are what routing counts on; NaN never is."""
    return {
        "temperature": bool(np.all((tables["temperature"] > 0) & np.isfinite(tables["temperature"]))),
        "gain_edges": bool(np.all(tables["gain_edges"][:, 1:] >= tables["gain_edges"][:, :-1])),
        "gain": tables["gain"].shape[-1] > 0 and bool(np.all(np.isfinite(tables["gain"]))),
        "exit_macs": bool(np.all(np.diff(tables["exit_macs"]) > 0)),
    }
