"""Hierarchical update: a coarse network at every moment, the fine one only when a gate asks for it (LiteEval, Wu et
al., NeurIPS 2019); in between only the coarse part of the state is updated (after AdaFuse, Meng et al., ICLR 2021).

A lap of the loop is one moment: `coarse` sees a small frame, updates its part of the state, answers, and says how much
the fine network would bring (`ask`); then either `see`, the backbone at the same moment, and `merge`, which updates
the fine part and answers again, or the next moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.package.load import Package
from service.routing.base import LEAVE, Routing, misbuilt, register
from service.routing.knobs import Knobs
from service.routing.moments import Stops, coarse_to_fine, moments, onward, same

ASK = "ask"
"""The coarse stage's output: float32 [rows, 1] in 0..1."""


@register("hierarchical")
class Hierarchical:
    """Coarse at every moment, fine where the gate asks.

    Tables: those of `Stops`, for the exits of both stages in turn; `knob_prices` float64 [M] and `knobs` float32 [M],
    what the gate has to say for the fine network to run: 0 or less at the full price, not falling.
    """

    def __init__(self, package: Package) -> None:
        graph, stages = package.graph, package.manifest.stages
        gates = [ASK in stages[stage].outputs for stage in graph.stage_of]
        laps = max(graph.lap_of)
        self._moments = moments(laps)[list(coarse_to_fine(laps))]
        self._lap_of, self._after, self._gates = [max(lap - 1, 0) for lap in graph.lap_of], graph.after, gates
        self._fine = [next((to for to in after if not gates[to]), None) for after in graph.after]
        self._next = [next((to for to in after if gates[to]), None) for after in graph.after]
        answering = all(graph.exit_of[place] >= 0 for place, gate in enumerate(gates) if gate)
        if (
            not gates[0]
            or not answering
            or any(gate and fine is None for gate, fine in zip(gates, self._fine, strict=True))
        ):
            raise misbuilt(package, f"router hierarchical needs a coarse stage with an exit that makes `{ASK}`")
        self._stops, self._knobs = Stops.of(package), Knobs.of(package)

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The signals: what the gate says, and what it takes for the fine network to run."""
        rows = len(prices)
        if self._stops.exit_of[stage] < 0:
            return Routing(np.full(rows, self._after[stage][0], np.int16))
        judged, later = self._stops.judged(stage, outputs), self._next[stage]
        there = None if later is None else self._moments[self._lap_of[later]]
        if not self._gates[stage]:
            return onward(judged, prices, later, None if there is None else same(there, rows))
        ask: NDArray[np.float32] = outputs[ASK][:, 0]
        asked = self._knobs.at(prices)
        answer, score, worths = judged
        fine = (ask >= asked) if there is not None else np.ones(rows, bool)
        after = np.where(fine, np.int16(self._fine[stage] or 0), np.int16(LEAVE if later is None else later))
        here = self._moments[self._lap_of[stage]]
        look = [(here if runs or there is None else there)[None, :] for runs in fine]
        after = np.where(worths > prices, after, np.int16(LEAVE))
        return Routing(after, answer, score, worths, {ASK: ask, "asked": asked}, look=look)
