"""Frames in coarse-to-fine order: stop when reading on stops paying (FrameExit, Ghodrati et al., CVPR 2021), and skip a
frame that will bring nothing new before the network has seen it (Skip RNN, Campos et al., ICLR 2018).

A lap of the loop is one moment: `peek` sees a thumbnail and says how much the frame may change the answer (`novelty`),
`see` is the backbone, `pool` takes its features into the state and answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.package.load import Package
from service.routing.base import Routing, misbuilt, register
from service.routing.knobs import Knobs
from service.routing.moments import Stops, coarse_to_fine, moments, onward, same

NOVELTY = "novelty"
"""The peeking stage's output: float32 [rows, 1] in 0..1."""


@register("frames")
class Frames:
    """Peek, see, pool, once for each moment.

    Tables: those of `Stops`; `knob_prices` float64 [M] and `knobs` float32 [M], the novelty from which on a frame is
    seen: 0 or less at the full price, not falling.
    """

    def __init__(self, package: Package) -> None:
        graph, stages = package.graph, package.manifest.stages
        peeks = [NOVELTY in stages[stage].outputs for stage in graph.stage_of]
        laps = max(graph.lap_of)
        self._moments = moments(laps)[list(coarse_to_fine(laps))]
        self._lap_of, self._after, self._peeks = [max(lap - 1, 0) for lap in graph.lap_of], graph.after, peeks
        # At a peek, the place of the backbone and that of the next lap's peek, if there is one.
        self._see = [next((to for to in after if not peeks[to]), None) for after in graph.after]
        self._pass = [next((to for to in after if peeks[to]), None) for after in graph.after]
        if not peeks[0] or any(peek and see is None for peek, see in zip(peeks, self._see, strict=True)):
            raise misbuilt(package, f"router frames needs a stage that makes `{NOVELTY}` and leads to the backbone")
        self._stops, self._knobs = Stops.of(package), Knobs.of(package)

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The signals: a frame's novelty, and what it takes to be seen."""
        if self._peeks[stage]:
            return self._peeked(stage, outputs, prices)
        if self._stops.exit_of[stage] < 0:
            return Routing(np.full(len(prices), self._after[stage][0], np.int16))
        after = self._pass[stage]
        look = None if after is None else same(self._moments[self._lap_of[after]], len(prices))
        return onward(self._stops.judged(stage, outputs), prices, after, look)

    def _peeked(self, place: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        novelty: NDArray[np.float32] = outputs[NOVELTY][:, 0]
        asked, later, rows = self._knobs.at(prices), self._pass[place], len(prices)
        here = self._moments[self._lap_of[place]][None, :]
        signals = {NOVELTY: novelty, "asked": asked}
        # The first moment is seen in any case: without it nothing could be answered.
        if later is None or self._lap_of[place] == 0:
            return Routing(np.full(rows, self._see[place], np.int16), signals=signals, look=[here] * rows)
        seen = novelty >= asked
        there = self._moments[self._lap_of[later]][None, :]
        after = np.where(seen, np.int16(self._see[place] or 0), np.int16(later))
        return Routing(after, signals=signals, look=[here if looks else there for looks in seen])
