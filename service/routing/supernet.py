"""A supernetwork: a trunk, specialised branches, and a general one that may add its votes (HydraNets, CVPR 2018).

The trunk's answer, summed over each branch's classes, is the gate: its arg max names the branch that knows them. Where
the two likeliest branches are too close together, the walk goes to the general branch instead. So each walk has one
way, trunk - branch - general or trunk - general, and its price only decides how far along it goes: on while the
expected gain in correctness per GMAC, read off the margin between the two likeliest classes, is above the price.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core import FULL
from service.errors import PackageError
from service.package.load import Package
from service.package.manifest import FILE
from service.routing.base import LEAVE, Routing, register
from service.routing.early_exit import softmax

_REMEDY = "make it again with the package's recipe"
_LEAVE = np.int16(LEAVE)


@register("supernet")
class Supernet:
    """Stages: the trunk, B branches of equal cost, the general branch; an exit after each.

    Tables: `temperature` float32 [B + 2]; `branch_of` int16 [classes], the place of the branch that knows a class;
    `gate_margin` float32 [1], below which the gate is unsure; `trunk_edges` [B + 1, bins + 1] and `trunk_worth`
    [B + 1, bins], by the way ahead (the branches, then the general one): the price from which on a walk with that
    margin leaves at the trunk; `branch_edges` [B, bins + 1] and `branch_worth` [B, bins]: at the branch.
    """

    def __init__(self, package: Package) -> None:
        self._answers = [stage.answer or "" for stage in package.manifest.stages]
        self._branches = len(self._answers) - 2
        _check(package, self._branches)
        tables = package.tables
        self._temperature = tables["temperature"]
        self._knows = np.eye(self._branches, dtype=np.float32)[tables["branch_of"]]
        self._gate_margin = float(tables["gate_margin"][0])
        self._trunk = _Worths(tables["trunk_edges"], tables["trunk_worth"])
        self._branch = _Worths(tables["branch_edges"], tables["branch_worth"])

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The signals: the gate's shares by branch, the margin between the likeliest classes."""
        answer = softmax(outputs[self._answers[stage]] / self._temperature[stage])
        score = np.maximum.reduce(answer, axis=1)
        general = self._branches + 1
        if stage == general:
            return Routing(np.full(len(prices), LEAVE, np.int16), answer, score, np.full(len(prices), -np.inf))
        margin = lead(answer)
        if stage:
            worth = self._branch.at(np.full(len(prices), stage - 1), margin)
            return Routing(
                np.where(worth > prices, np.int16(general), _LEAVE), answer, score, worth, {"margin": margin}
            )
        gate = answer @ self._knows
        best = gate.argmax(axis=1)
        way = np.where(lead(gate) < self._gate_margin, self._branches, best)
        worth = self._trunk.at(way, margin)
        # The full walk takes every vote that it can get.
        ahead = 1 + np.where(prices == FULL, best, way).astype(np.int16)
        return Routing(np.where(worth > prices, ahead, _LEAVE), answer, score, worth, {"gate": gate, "margin": margin})


def lead(shares: NDArray[np.floating]) -> NDArray[Any]:
    """How far the largest share of each row is ahead of the second: [rows]."""
    largest = np.partition(shares, -2, axis=1)
    return largest[:, -1] - largest[:, -2]


class _Worths:
    """A step function of the margin for each way ahead."""

    def __init__(self, edges: NDArray[np.float32], worth: NDArray[np.floating]) -> None:
        # Inner edges only: margins beyond those seen at calibration fall into the outermost bins.
        self._edges, self._worth = edges[:, 1:-1], worth.astype(np.float64)

    def at(self, way: NDArray[np.integer], margin: NDArray[np.floating]) -> NDArray[np.float64]:
        """Of rows with that way ahead and that margin: float64 [rows]."""
        place = (margin[:, None] >= self._edges[way]).sum(axis=1)
        return np.asarray(self._worth[way, place])


def _check(package: Package, branches: int) -> None:
    graph, tables = package.graph, package.tables
    general = branches + 1
    ways = (tuple(range(1, general + 1)), *[(general,)] * branches, ())
    if branches < 2 or graph.after != ways or not graph.anytime or len(set(graph.macs[1:general])) > 1:
        problem = "router supernet needs a trunk, two or more branches of equal cost and a general one, all with exits"
        raise PackageError(package.path / FILE, "stages", problem, _REMEDY)
    bins = tables["trunk_worth"].shape[-1] if "trunk_worth" in tables and tables["trunk_worth"].ndim else 0
    shapes = {
        "temperature": (branches + 2,),
        "branch_of": (len(package.labels),),
        "gate_margin": (1,),
        "trunk_edges": (branches + 1, bins + 1),
        "trunk_worth": (branches + 1, bins),
        "branch_edges": (branches, bins + 1),
        "branch_worth": (branches, bins),
    }
    file = package.path / package.manifest.calibration.file
    for name, shape in shapes.items():
        found = tables[name].shape if name in tables else None
        if found != shape or not bins:
            raise PackageError(file, name, f"shape {found}, expected {shape}", _REMEDY)
    for name, (fits, promise) in _promises(tables, branches).items():
        if not fits:
            raise PackageError(file, name, promise, _REMEDY)


def _promises(tables: Mapping[str, NDArray[Any]], branches: int) -> dict[str, tuple[bool, str]]:
    """For each table, whether its values are what routing counts on, and what that is; NaN never is."""
    known = tables["branch_of"]
    fits = {
        "temperature": (tables["temperature"] > 0, "values must be above 0"),
        "branch_of": ((known >= 0) & (known < branches), f"values must be in 0..{branches - 1}"),
        "gate_margin": (tables["gate_margin"] >= 0, "must be 0 or above"),
    }
    for name in ("trunk", "branch"):
        edges, worth = tables[f"{name}_edges"], tables[f"{name}_worth"]
        fits[f"{name}_edges"] = (edges[:, 1:] >= edges[:, :-1], "values must not fall along the bins")
        fits[f"{name}_worth"] = ((worth >= 0) & np.isfinite(worth), "values must be finite and not below 0")
    return {name: (bool(np.all(each)), promise) for name, (each, promise) in fits.items()}
