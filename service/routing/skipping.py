"""What the routers that skip blocks have in common: a value for each block that may follow, and a threshold.

A stage's `next` lists the blocks that a walk may run or skip, in walking order, and last the stage that it goes to when
it skips them all; after a stage with an exit, that last one is missing, for the walk then leaves. The walk enters the
first block whose value, between 0 and 1, reaches the threshold. The threshold is the knob of the walk's price
(service/routing/knobs.py): at 0 every block runs, above 1 none does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from service.errors import PackageError
from service.package.load import Package
from service.package.manifest import FILE
from service.package.stage import Stage
from service.routing.base import LEAVE, Router, Routing, misfit
from service.routing.early_exit import softmax
from service.routing.knobs import Knobs


class Skipping(Router):
    """Enters the first block whose value reaches the threshold of the walk's price.

    Tables: `knob_prices` float64 [M] and `knobs` float32 [M], thresholds that rise from 0 or less to above 1;
    `temperature` float32 [1] of the answers.
    """

    signal: ClassVar[str]
    """What `explain` calls the values."""

    def __init__(self, package: Package) -> None:
        stages = package.manifest.stages
        self._knobs = _thresholds(package)
        self._temperature = _temperature(package)
        self._answers = [stage.answer for stage in stages]
        # By stage: where to go on to by the place of the first block entered, the last one for none of them.
        self._ways = [
            np.array([*after, *([] if stage.answer is None else [LEAVE])], np.int16)
            for after, stage in zip(package.graph.after, stages, strict=True)
        ]
        self.blocks = [tuple(ways[:-1].tolist()) for ways in self._ways]
        """By stage, the indexes of the blocks that may follow, in walking order."""

    @abstractmethod
    def values(self, stage: int, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """What speaks for each of `blocks[stage]`, in 0..1: float32 [rows, blocks]; asked only where there are any."""

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The signals: the values of the blocks that may follow, and the threshold."""
        rows = len(prices)
        thresholds = self._knobs.at(prices)
        values = self.values(stage, outputs) if self.blocks[stage] else np.empty((rows, 0), np.float32)
        entered = np.concatenate([values >= thresholds[:, None], np.ones((rows, 1), bool)], axis=1)
        after = self._ways[stage].take(entered.argmax(axis=1))
        signals = {self.signal: values, "threshold": thresholds} if self.blocks[stage] else None
        name = self._answers[stage]
        if name is None:
            return Routing(after, signals=signals)
        logits: NDArray[np.float32] = outputs[name]
        answer = softmax(logits / self._temperature)
        return Routing(after, answer, np.maximum.reduce(answer, axis=1), self._worth(values), signals)

    def _worth(self, values: NDArray[np.float32]) -> NDArray[np.float64]:
        """Price from which on no block is entered: float64 [rows]."""
        if not values.shape[1]:
            return np.full(len(values), -np.inf)
        first_above: NDArray[np.intp] = self._knobs.values.searchsorted(values.max(axis=1), side="right")
        return self._knobs.prices.take(first_above)


def port(stage: Stage, prefix: str, package: Package) -> str:
    """The one output of a stage whose name starts so.

    Raises:
        PackageError: there is none, or more than one.
    """
    found = [name for name in stage.outputs if name.startswith(prefix)]
    if len(found) != 1:
        problem = f"stage {stage.name!r} leads to blocks, but has {len(found)} outputs named {prefix}*"
        raise PackageError(package.path / FILE, "stages", problem, f"export it with one output named {prefix}*")
    return found[0]


def _thresholds(package: Package) -> Knobs:
    knobs = Knobs.of(package)
    if not (np.all(np.diff(knobs.values) >= 0) and knobs.values[0] <= 0 and knobs.values[-1] > 1):
        raise misfit(package, "knobs", "thresholds must rise with the price, from 0 or less to above 1")
    return knobs


def _temperature(package: Package) -> NDArray[np.float32]:
    table = package.tables.get("temperature")
    if table is None or table.shape != (1,) or not (np.isfinite(table[0]) and table[0] > 0):
        raise misfit(package, "temperature", "must be one number above 0")
    return table.astype(np.float32)
