"""What a package's calibration samples would do at every exit: the material of the replay."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.package.load import Package
from service.routing.early_exit import EarlyExit


@dataclass(frozen=True, slots=True)
class Traces:
    """n samples at K exits of a chain.

    Attributes:
        scores: float32 [n, K], calibrated scores.
        right: bool [n, K], whether the answer standing at the exit is right.
        worth: float64 [n, K], price from which on the sample leaves at the exit; -inf at the last.
        macs: int64 [K], MACs of the stage that ends in each exit.
    """

    scores: NDArray[np.float32]
    right: NDArray[np.bool_]
    worth: NDArray[np.float64]
    macs: NDArray[np.int64]

    @classmethod
    def of(cls, package: Package) -> Traces:
        """Traces from the calibration record of an early-exit package."""
        scores = np.asarray(package.tables["exit_scores"], np.float32)
        router = EarlyExit(package)
        return cls(
            scores=scores,
            right=package.tables["exit_predictions"] == package.record.labels[:, None],
            worth=np.stack([router.worth_at(k, scores[:, k]) for k in range(scores.shape[1])], axis=1),
            macs=np.asarray(package.graph.macs, np.int64),
        )

    @property
    def size(self) -> int:
        """Number of samples."""
        return len(self.scores)

    @property
    def exits(self) -> int:
        """Number of exits."""
        return len(self.macs)


@dataclass(frozen=True, slots=True)
class Device:
    """A device on the virtual clock: its speed is all there is to it; batches save nothing, overheads cost nothing."""

    seconds_per_mac: float

    def stages(self, macs: NDArray[np.int64]) -> Sequence[float]:
        """Seconds of one row of each stage."""
        return [float(one) * self.seconds_per_mac for one in macs]
