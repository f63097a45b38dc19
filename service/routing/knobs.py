"""Knobs: what a router that knows no prices turns instead, and which knob a price stands for.

Gates, halting scores and policies have a threshold, not a price. At calibration each threshold of a menu is walked on
the router split; on the concave hull of correctness over compute, the slope from one threshold to the next dearer one
is the price at which that step stops paying (models/calibration/knobs.py). The tables `knob_prices` float64 [M] and
`knobs` float32 [M] of the calibration file keep that: dearest first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.core import FULL
from service.errors import PackageError
from service.package.load import Package

_REMEDY = "make it again with the package's recipe"


@dataclass(frozen=True, slots=True)
class Knobs:
    """A step function of the price: from `prices[i]` up to the next, the knob is `values[i]`."""

    prices: NDArray[np.float64]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, package: Package) -> Knobs:
        """The package's table.

        Raises:
            PackageError: it is missing, of another shape, or its prices don't rise from -inf (full).
        """
        file = package.path / package.manifest.calibration.file
        found = [package.tables.get(name) for name in ("knob_prices", "knobs")]
        prices, values = found
        if prices is None or values is None:
            raise PackageError(file, "knobs", "knob_prices or knobs is missing", _REMEDY)
        if prices.ndim != 1 or prices.shape != values.shape or not len(prices):
            raise PackageError(file, "knobs", f"shapes {prices.shape} and {values.shape} aren't one length", _REMEDY)
        if prices[0] != FULL or not np.all(prices[1:] > prices[:-1]) or np.isnan(values).any():
            raise PackageError(file, "knob_prices", "must rise strictly from -inf, each with a knob", _REMEDY)
        return cls(prices.astype(np.float64), values.astype(np.float32))

    def at(self, prices: NDArray[np.float64]) -> NDArray[np.float32]:
        """The knob of each price, float32 [rows]."""
        turned: NDArray[np.float32] = self.values.take(self.prices.searchsorted(prices, side="right") - 1)
        return turned
