"""Which input channels layers can best do without, and the weights that make up for them.

The optimal brain surgeon (Hassibi and Stork, NIPS 1992), with a channel's whole block of weights in the place of one
weight: the channel whose loss costs least, after the others' weights have been refitted, goes first. It is exact for
least squares, and each step only updates the inverse.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.compress.fit import Fit


class Elimination:
    """One layer that loses input channels, each `block` rows of its matrix.

    The search is in float32, for its memory traffic; what comes out is solved anew in float64.
    """

    def __init__(self, fitted: Fit, block: int) -> None:
        self._fitted, self._block = fitted, block
        self._wanted = max(fitted.wanted, 1e-12)
        self._matrix = fitted.matrix.astype(np.float32)
        self._inverse = np.linalg.inv(fitted.scatter).astype(np.float32)

    def losses(self) -> NDArray[np.float32]:
        """Rise of the error by each channel's loss, as a share of the wanted outputs' variance: float32 [channels].

        Of channels that are gone it means nothing.
        """
        channels = len(self._matrix) // self._block
        blocks = self._matrix.reshape(channels, self._block, -1)
        place = np.arange(channels)
        square = self._inverse.reshape(channels, self._block, channels, self._block)[place, :, place]
        return np.asarray(np.einsum("cbo,cbo->c", blocks, np.linalg.solve(square, blocks)) / self._wanted)

    def remove(self, channel: int) -> None:
        """Take out a channel: the rest makes up for it as well as it can."""
        gone = slice(channel * self._block, (channel + 1) * self._block)
        column = self._inverse[:, gone].copy()
        self._matrix -= column @ np.linalg.solve(column[gone], self._matrix[gone])
        self._inverse -= column @ np.linalg.solve(column[gone], column.T)
        # Nothing is left in these rows and columns but rounding; a unit block keeps the next solutions defined.
        self._inverse[gone] = self._inverse[:, gone] = 0.0
        self._inverse[gone, gone] = np.eye(self._block)

    def matrix(self, kept: NDArray[np.int64]) -> NDArray[np.float64]:
        """The best weights for the channels that are kept."""
        rows, scatter = block_rows(kept, self._block), self._fitted.scatter
        return np.asarray(np.linalg.solve(scatter[np.ix_(rows, rows)], scatter[rows] @ self._fitted.matrix))


def eliminate(layers: Sequence[Elimination], channels: int, count: int) -> NDArray[np.int64]:
    """Take `count` of the channels that all these layers read from each of them; the channels kept, int64, sorted."""
    kept = np.ones(channels, bool)
    for _ in range(count):
        losses = np.sum([layer.losses() for layer in layers], axis=0)
        worst = int(np.argmin(np.where(kept, losses, np.inf)))
        kept[worst] = False
        for layer in layers:
            layer.remove(worst)
    return np.flatnonzero(kept)


def block_rows(channels: NDArray[np.integer], block: int) -> NDArray[np.int64]:
    """The rows of a matrix that belong to channels."""
    return np.asarray((channels[:, None] * block + np.arange(block)).ravel())
