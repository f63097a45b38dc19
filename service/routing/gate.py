"""Gates: a block runs where a gate on its own input says that it should.

ConvNet-AIG (Veit & Belongie, ECCV 2018) and SkipNet (Wang et al., ECCV 2018): a small net on the pooled input of a
residual block decides whether the block runs; skipped, it leaves its input as it is. A stage computes on its own output
the gates of all the blocks that may follow it, so a block that is skipped is never entered: whichever of them is
entered first, the map before it is the one that its gate has read.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.package.load import Package
from service.routing.base import register
from service.routing.skipping import Skipping, port


@register("skip-gate")
class SkipGate(Skipping):
    """One output `gates*` [rows, m or more] of each stage that leads to m blocks: its last m columns are theirs."""

    signal = "gate"

    def __init__(self, package: Package) -> None:
        super().__init__(package)
        self._ports = [
            port(stage, "gates", package) if blocks else ""
            for stage, blocks in zip(package.manifest.stages, self.blocks, strict=True)
        ]

    def values(self, stage: int, outputs: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
        """The probability, as its gate says, that a block should run."""
        gates: NDArray[np.float32] = outputs[self._ports[stage]][:, -len(self.blocks[stage]) :]
        return gates
