"""Dynamic kernels: exits as in `early-exit`, and `explain` tells how each image's kernels were mixed.

Conditionally parameterised convolutions (CondConv, Yang et al., NeurIPS 2019): stages mix kernels for each input; no
routing comes of it. The shares of the mixture are outputs of the stage, one for each mixed layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.package.load import Package
from service.routing.base import Routing, register
from service.routing.early_exit import EarlyExit


@register("dynamic-kernels")
class DynamicKernels(EarlyExit):
    """Tables as `early-exit`. A stage's outputs `mixture*` [rows, experts], if there are any, are told as signals."""

    def __init__(self, package: Package) -> None:
        super().__init__(package)
        self._mixtures = [
            [name for name in stage.outputs if name.startswith("mixture")] for stage in package.manifest.stages
        ]

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`."""
        routing = super().route(stage, outputs, prices)
        told = {name: outputs[name] for name in self._mixtures[stage]}
        return routing._replace(signals=told) if told else routing
