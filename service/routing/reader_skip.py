"""A reader that skips: a gate in the state says how soon to look again, and whether a cheap look will do.

Skip-RNN (ICLR 2018): the gate's steps add up, and the chunk at which the sum is full is read; until then the state is
copied, so the step alone tells how many chunks to leave out, and none of them is even tokenised. Skim-RNN (ICLR 2018):
where the gate prefers it, a chunk is only skimmed, which updates a part of the state. What counts as full is the knob
that a price turns; at the full price it is 0, and every chunk is read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.package.load import Package
from service.routing.base import LEAVE, Routing, register
from service.routing.knobs import Knobs
from service.routing.reading import Course, calibrated, looks, misfit, table

_LEAVE = np.int16(LEAVE)
_LEAST_STEP = np.float32(1e-6)


@register("reader-skip")
class ReaderSkip:
    """Front to back. The stages are `read`, and `skim` if the package has it.

    `gate` of the graphs, float32 [rows, 2]: the step, and how much a whole look is to be preferred. Tables: `Knobs`,
    the sums that count as full; `skim_share` float32 [1]: below this share of the knob the preference is for skimming;
    `temperature` float32 [laps].
    """

    def __init__(self, package: Package) -> None:
        self._course, self._knobs = Course.of(package), Knobs.of(package)
        self._temperature = table(package, "temperature")
        if not np.all(np.diff(self._knobs.values) >= 0) or self._knobs.values[0] != 0:
            raise misfit(package, "knobs", "must rise with the price, from 0")
        self._skim_share = float(table(package, "skim_share")[0])
        graph = package.graph
        self._skim = tuple(
            next((place for place in after if graph.stage_of[place] == 1), on)
            for after, on in zip(graph.after, self._course.on, strict=True)
        )

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The signals: the step, the knob, and how many chunks are left out then."""
        course, full = self._course, self._knobs.at(prices)
        answer, score = calibrated(outputs[course.answer[stage]], self._temperature, course.lap[stage])
        step, whole = np.maximum(outputs["gate"][:, 0], _LEAST_STEP), outputs["gate"][:, 1]
        at, ahead = outputs["at"][:, 0], outputs["size"][:, 0] - 1 - outputs["at"][:, 0]
        stays = (full <= step * ahead) & (ahead > 0) & (course.on[stage] >= 0)
        left_out = np.clip(np.ceil(full / step) - 1, 0, np.maximum(ahead - stays, 0))
        after = np.where(whole < self._skim_share * full, self._skim[stage], course.on[stage])
        return Routing(
            np.where(stays, after, _LEAVE).astype(np.int16),
            answer,
            score,
            self._worth(step, ahead) if course.on[stage] >= 0 else np.full(len(prices), -np.inf),
            {"step": step, "full": full, "leaves_out": left_out, "whole": whole},
            look=looks(stays, at + 1 + left_out),
            full=course.full(outputs),
        )

    def _worth(self, step: NDArray[np.floating], ahead: NDArray[np.floating]) -> NDArray[np.float64]:
        """The lowest price whose knob no chunk ahead would fill: float64 [rows]; -inf at the last chunk."""
        first: NDArray[np.intp] = self._knobs.values.searchsorted(step * ahead, side="right")
        prices = np.append(self._knobs.prices, np.inf)
        return np.where(ahead > 0, prices.take(first), -np.inf)
