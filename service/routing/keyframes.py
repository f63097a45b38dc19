"""Key frames: a very cheap scorer looks over small pictures of the whole clip, and the network sees the best of them
(SCSampler, Korbar et al., ICCV 2019).

`scan` gives each moment's share of what there is to know; the walk takes the best moments until their shares reach what
its price asks for, so a clip with one telling moment costs less than one without. They run as ragged rows of the
backbone, and an assembling stage pools what was seen and answers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.package.load import Package
from service.routing.base import LEAVE, Routing, misbuilt, misfit, register
from service.routing.early_exit import softmax
from service.routing.knobs import Knobs
from service.routing.moments import moments

SHARE = "share"
"""The scanning stage's output: float32 [rows, moments] that add up to 1."""


@register("keyframes")
class Keyframes:
    """One choice of moments, then one answer.

    Tables: `temperature` float32 [1]; `knob_prices` float64 [M] and `knobs` float32 [M], the sum of shares that is
    enough, not rising: 1 or more takes every moment, 0 the best one.
    """

    def __init__(self, package: Package) -> None:
        graph, stages = package.graph, package.manifest.stages
        self._knobs, self._after = Knobs.of(package), graph.after
        self._answers = [stages[stage].answer for stage in graph.stage_of]
        if SHARE not in stages[0].outputs or len(graph.exits) != 1:
            raise misbuilt(package, f"router keyframes needs a first stage that makes `{SHARE}`, and one exit")
        if np.any(np.diff(self._knobs.values) > 0) or self._knobs.values[0] < 1:
            raise misfit(package, "knobs", "must not rise with the price, from 1 or more")
        temperature = package.tables.get("temperature")
        if temperature is None or temperature.shape != (1,) or not (np.isfinite(temperature[0]) and temperature[0] > 0):
            raise misfit(package, "temperature", "must be one number above 0")
        self._temperature = temperature.astype(np.float32)

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The signals: every moment's share, and the sum that is enough."""
        rows, name = len(prices), self._answers[stage]
        if name is not None:
            logits: NDArray[np.float32] = outputs[name]
            answer = softmax(logits / self._temperature)
            leave, last = np.full(rows, LEAVE, np.int16), np.full(rows, -np.inf)
            return Routing(leave, answer, np.maximum.reduce(answer, axis=1), last)
        after = np.full(rows, self._after[stage][0], np.int16)
        if SHARE not in outputs:
            return Routing(after)
        enough = self._knobs.at(prices)
        picks = picked(outputs[SHARE], enough)
        at = moments(outputs[SHARE].shape[1])
        signals = {SHARE: outputs[SHARE], "enough": enough}
        return Routing(after, signals=signals, look=[at[some] for some in picks], picks=picks)


def picked(share: NDArray[np.float32], enough: NDArray[np.float32]) -> list[NDArray[np.int64]]:
    """For each row the moments of the largest shares, best first, until they add up to `enough`: at least one."""
    order = np.argsort(-share, axis=1, kind="stable")
    before = np.cumsum(np.take_along_axis(share, order, axis=1), axis=1, dtype=np.float64)
    # At 1 rounding must not cost a moment.
    wanted = (before < enough[:, None] - 1e-6).sum(axis=1) + 1
    counts = np.where(enough >= 1, share.shape[1], np.minimum(wanted, share.shape[1]))
    return [line[:count].astype(np.int64) for line, count in zip(order, counts, strict=True)]
