"""Policy: a small net looks at the input once and says of every block whether it should run.

BlockDrop (Wu et al., CVPR 2018). The policy net is part of the first stage; what it said travels with the walk, as an
output that each stage copies from its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.package.load import Package
from service.routing.base import register
from service.routing.skipping import Skipping, port


@register("skip-policy")
class SkipPolicy(Skipping):
    """One output `policy*` [rows, L] of each stage that leads to blocks: a column for each block, in walking order."""

    signal = "policy"

    def __init__(self, package: Package) -> None:
        super().__init__(package)
        every = sorted({block for blocks in self.blocks for block in blocks})
        self._columns = [np.searchsorted(every, blocks) for blocks in self.blocks]
        self._ports = [
            port(stage, "policy", package) if blocks else ""
            for stage, blocks in zip(package.manifest.stages, self.blocks, strict=True)
        ]

    def values(self, stage: int, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The probability, as the policy said at the start, that a block should run."""
        said: NDArray[np.float32] = outputs[self._ports[stage]].take(self._columns[stage], axis=1)
        return said
