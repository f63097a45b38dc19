"""An agent that names the next moment to look at, and what looking on is good for (AdaFrame, Wu et al., CVPR 2019;
frame glimpses, Yeung et al., CVPR 2016).

`scan` remembers small pictures of the whole clip and names the first moment; in a loop `see` is the backbone at that
moment, and `think` takes its features into a recurrent state, answers, names the next moment and tells its utility: how
likely it is that the answer needn't change any more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.package.load import Package
from service.routing.base import Routing, misbuilt, register
from service.routing.moments import Looks, Stops, moments, onward

WHERE = "where"
"""Output of the stages that name a moment: float32 [rows, moments], what speaks for each; looked-at ones lowest."""
SETTLED = "settled"
"""Output of the thinking stage: float32 [rows, 1] in 0..1, how likely looking on changes nothing for the better."""


@register("agent")
class Agent:
    """Looks where its state says, until the expected utility of looking on is below the price.

    Tables: those of `Stops`, whose gain maps are read at `settled` instead of the answer's own score.
    """

    def __init__(self, package: Package) -> None:
        graph, stages = package.graph, package.manifest.stages
        self._names = [WHERE in stages[stage].outputs for stage in graph.stage_of]
        self._after = graph.after
        answering = [stages[stage] for stage in set(graph.stage_of) if stages[stage].answer]
        if not self._names[0] or any(SETTLED not in stage.outputs for stage in answering):
            raise misbuilt(package, f"router agent needs `{WHERE}` of its first stage, and `{SETTLED}` at every exit")
        self._stops = Stops.of(package)

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The signals: the moment named, as a share of the duration, and how settled it is."""
        rows, after = len(prices), (self._after[stage] or (None,))[0]
        if not self._names[stage]:
            return Routing(np.full(rows, after, np.int16))
        looks, shares = _named(outputs[WHERE])
        if self._stops.exit_of[stage] < 0:
            return Routing(np.full(rows, after, np.int16), signals={"moment": shares}, look=looks)
        settled: NDArray[np.float32] = outputs[SETTLED][:, 0]
        signals = {"moment": shares, SETTLED: settled}
        return onward(self._stops.judged(stage, outputs, settled), prices, after, looks, signals)


def _named(where: NDArray[np.float32]) -> tuple[Looks, NDArray[np.float32]]:
    """The likeliest moment of each row, as a look and as a share."""
    shares = moments(where.shape[1])[where.argmax(axis=1)]
    return [share[None, :] for share in shares], shares[:, 0]
