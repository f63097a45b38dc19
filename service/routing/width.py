"""Dynamic width: after the first stage each walk goes to one of several widths, or leaves, by what each is worth.

Slimmable networks (Yu et al., ICLR 2019) hold several widths in one; DS-Net (Li et al., CVPR 2021) picks one per image
by a gate. Here the gate tells for each option how likely its answer is to be right, and the walk takes the arg max of
that probability less price times GMACs: no threshold, any price.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import PackageError
from service.package.load import Package
from service.package.manifest import FILE
from service.routing.base import LEAVE, Routing, register
from service.routing.early_exit import softmax

VALUE = "value"
"""The first stage's output: float32 [rows, options], for each a logit of being right."""
_REMEDY = "make it again with the package's recipe"


@register("width")
class Width:
    """One choice, after the first stage: to leave there, if it has an exit, or one of `next`, which rise in cost.

    Tables: `temperature` float32 [exits]; `value_scale` and `value_shift` float32 [options], which turn the graph's
    values into calibrated logits of being right (Platt, 1999).
    """

    def __init__(self, package: Package) -> None:
        stages, graph = package.manifest.stages, package.graph
        leave = [LEAVE] if stages[0].answer else []
        self._answers = [stage.answer for stage in stages]
        self._exit_of = graph.exit_of
        self._options = np.array([*leave, *graph.after[0]], np.int16)
        self._gmacs = np.array([0.0] * len(leave) + [graph.macs[after] / 1e9 for after in graph.after[0]])
        self._check(package)
        self._temperature = package.tables["temperature"]
        self._scale, self._shift = package.tables["value_scale"], package.tables["value_shift"]

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The signals: how likely each option is to be right, cheapest first."""
        answer, score = self._answered(stage, outputs)
        if stage:
            return Routing(np.full(len(prices), LEAVE, np.int16), answer, score, np.full(len(prices), -np.inf))
        values = 1 / (1 + np.exp(-(outputs[VALUE] * self._scale + self._shift)))
        turning = turning_prices(values, self._gmacs)
        after = self._options.take((turning > prices[:, None]).sum(axis=1))
        worth = turning[:, 0] if answer is not None else None
        return Routing(after, answer, score, worth, {"value": values})

    def _answered(
        self, stage: int, outputs: Mapping[str, NDArray[Any]]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]] | tuple[None, None]:
        name = self._answers[stage]
        if name is None:
            return None, None
        answer = softmax(outputs[name] / self._temperature[self._exit_of[stage]])
        return answer, np.maximum.reduce(answer, axis=1)

    def _check(self, package: Package) -> None:
        stages, options = package.manifest.stages, len(self._options)
        if any(stage.next for stage in stages[1:]) or options < 2 or VALUE not in stages[0].outputs:
            problem = f"router width needs a first stage that makes `{VALUE}`, then one of several last stages"
            raise PackageError(package.path / FILE, "stages", problem, _REMEDY)
        if not np.all(np.diff(self._gmacs) > 0):
            problem = "the next stages must rise in macs_per_row"
            raise PackageError(package.path / FILE, "stages", problem, "list the cheapest first")
        file = package.path / package.manifest.calibration.file
        sizes = {"temperature": len(package.graph.exits), "value_scale": options, "value_shift": options}
        for name, size in sizes.items():
            found = package.tables.get(name)
            if found is None or found.shape != (size,) or not np.all(np.isfinite(found)):
                raise PackageError(file, name, f"needs {size} finite values", _REMEDY)
        for name in ("temperature", "value_scale"):
            if not np.all(package.tables[name] > 0):
                raise PackageError(file, name, "values must be above 0", _REMEDY)


def turning_prices(values: NDArray[np.floating], gmacs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Prices at which the arg max of value - price x GMACs turns to a cheaper option: float64 [rows, options - 1].

    Entry j - 1 is the price from which on an option cheaper than j is taken. Entries never rise along a row, not even
    by rounding, so that counting those above a price gives the option, and a higher price never a dearer one.

    Args:
        values: [rows, options], cheapest first.
        gmacs: [options], rising.
    """
    made = np.empty((len(values), len(gmacs) - 1))
    for option in range(1, len(gmacs)):
        gained = values[:, option, None].astype(np.float64) - values[:, :option]
        made[:, option - 1] = (gained / (gmacs[option] - gmacs[:option])).min(axis=1)
    # An option beats every cheaper one below its own price; one that is at least as dear as j does so below the
    # largest of these.
    return np.maximum.accumulate(made[:, ::-1], axis=1)[:, ::-1]
