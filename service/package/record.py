"""The calibration record: what the calibration split did at every price of the path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core import CHEAPEST, FULL
from service.errors import PackageError

LOSSES = ("accuracy", "agreement", "max_drop")
"""The budget kinds that a certificate can promise; each has a 0/1 loss per sample."""

_REMEDY = "make the file again with models.calibrate"


@dataclass(frozen=True, slots=True)
class Record:
    """P prices by n samples. The first price is "full", the last "cheapest"; cost falls along the path.

    Attributes:
        prices: float64 [P], ascending from -inf to +inf.
        labels: int16 [n], the true classes.
        predictions: int16 [P, n], arg-max of the answer given.
        exits: int8 [P, n], index among the package's exits.
        macs: int64 [P, n], spent by the whole walk.
    """

    prices: NDArray[np.float64]
    labels: NDArray[np.int16]
    predictions: NDArray[np.int16]
    exits: NDArray[np.int8]
    macs: NDArray[np.int64]

    @property
    def size(self) -> int:
        """Number of calibration samples."""
        return len(self.labels)

    def losses(self, kind: str) -> NDArray[np.bool_]:
        """0/1 losses bool [P, n] of one of `LOSSES`.

        accuracy: the answer is wrong. agreement: it differs from the full network's. max_drop: it is wrong where the
        full network is right (harm only: exits that repair the full network earn nothing, which is conservative).
        """
        full = self.predictions[0]
        if kind == "agreement":
            return np.asarray(self.predictions != full)
        wrong = np.asarray(self.predictions != self.labels)
        return wrong if kind == "accuracy" else wrong & (full == self.labels)


_COLUMNS: dict[str, tuple[type[np.generic], int]] = {
    "prices": (np.float64, 1),
    "labels": (np.int16, 1),
    "predictions": (np.int16, 2),
    "exits": (np.int8, 2),
    "macs": (np.int64, 2),
}
"""Type and number of axes of each array."""


def read(arrays: Mapping[str, NDArray[Any]], file: Path) -> Record:
    """Record from the arrays of a calibration file.

    Raises:
        PackageError: an array is missing, or types, shapes, order or the ends of the path are wrong.
    """
    missing = [name for name in _COLUMNS if name not in arrays]
    if missing:
        raise PackageError(file, missing[0], "array is missing", _REMEDY)
    record = Record(**{name: _column(name, arrays[name], file) for name in _COLUMNS})
    _check(record, file)
    return record


def _column(name: str, array: NDArray[Any], file: Path) -> NDArray[Any]:
    """The array in the type that it is kept in, which has to hold every value of it."""
    kind, axes = _COLUMNS[name]
    if array.ndim != axes or not np.can_cast(array.dtype, kind, "same_kind"):
        problem = f"{array.dtype} with {array.ndim} axes is not {np.dtype(kind)} with {axes}"
        raise PackageError(file, name, problem, _REMEDY)
    held = array.astype(kind)
    if not np.array_equal(held, array, equal_nan=True):
        raise PackageError(file, name, f"{np.dtype(kind)} can't hold all its values", _REMEDY)
    return held


def _check(record: Record, file: Path) -> None:
    prices, shape = record.prices, (len(record.prices), record.size)
    ends = len(prices) > 1 and prices[0] == FULL and prices[-1] == CHEAPEST
    if not ends or not np.all(prices[1:] > prices[:-1]):
        raise PackageError(file, "prices", "must rise strictly from -inf (full) to +inf (cheapest)", _REMEDY)
    if record.size == 0:
        raise PackageError(file, "labels", "no samples", _REMEDY)
    for name in ("predictions", "exits", "macs"):
        found = getattr(record, name).shape
        if found != shape:
            raise PackageError(file, name, f"shape {found} is not (prices, samples) = {shape}", _REMEDY)
