"""Halting: blocks run one after the other until their halting scores add up.

Adaptive computation time (Graves 2016), by group of residual blocks as in SACT (Figurnov et al., CVPR 2017): each stage
adds a score to what has accumulated in its group, and weighs its map by that score in the group's output; the map at
which the walk stops gets all that is left to 1. So once the sum is 1, a further block could change nothing, and the
value of going on is the weight that is still to be given away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import PackageError
from service.package.load import Package
from service.package.manifest import FILE
from service.routing.base import register
from service.routing.skipping import Skipping, port


@register("skip-halting")
class SkipHalting(Skipping):
    """One output `halted*` [rows, 1] of each stage that leads to a block: the sum of the group's scores so far, 0..1.

    Halting skips the rest of a group, never a block before one that runs: a stage leads to one block, or to none.
    """

    signal = "remaining"

    def __init__(self, package: Package) -> None:
        super().__init__(package)
        if any(len(blocks) > 1 for blocks in self.blocks):
            problem, remedy = (
                "router skip-halting runs blocks in a row",
                "list one block, and where to go on to, in next",
            )
            raise PackageError(package.path / FILE, "stages", problem, remedy)
        self._ports = [
            port(stage, "halted", package) if blocks else ""
            for stage, blocks in zip(package.manifest.stages, self.blocks, strict=True)
        ]

    def values(self, stage: int, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """What is left to 1; rounding may have carried the sum beyond."""
        left: NDArray[np.float32] = np.maximum(1 - outputs[self._ports[stage]], np.float32(0))
        return left
