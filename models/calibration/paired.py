"""Two classifiers on the same samples: the difference of their accuracies, and whether it could be chance."""

from dataclasses import dataclass
from math import comb, sqrt

import numpy as np
from numpy.typing import NDArray

_Z = 1.959964


@dataclass(frozen=True)
class Paired:
    """Of n samples `gained` are right by the first alone, `lost` by the second alone."""

    gained: int
    lost: int
    n: int

    @classmethod
    def of(cls, first: NDArray[np.bool_], second: NDArray[np.bool_]) -> "Paired":
        """From who is right where, bool [n] each."""
        return cls(int((first & ~second).sum()), int((second & ~first).sum()), len(first))

    @property
    def difference(self) -> float:
        """First accuracy less the second."""
        return (self.gained - self.lost) / self.n

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of the difference (normal, for paired samples)."""
        spread = _Z * sqrt(self.gained + self.lost - (self.gained - self.lost) ** 2 / self.n) / self.n
        return self.difference - spread, self.difference + spread

    @property
    def p_value(self) -> float:
        """Exact two-sided McNemar test: how often chance alone parts the samples that differ so unevenly."""
        total, least = self.gained + self.lost, min(self.gained, self.lost)
        tail = sum(comb(total, k) for k in range(least + 1))
        return float(min(1.0, 2 * tail / 2**total))

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.difference * 100:+.2f} points ({low * 100:+.2f} to {high * 100:+.2f}), right alone: {self.gained} "
            f"and {self.lost}, McNemar p = {self.p_value:.2g}"
        )
