"""The calibration record: what the calibration split did at every price of the path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core import CHEAPEST, FULL, Price
from service.errors import PackageError
from service.package.graph import StageGraph

LOSSES = ("accuracy", "agreement", "max_drop")
"""The budget kinds that a certificate can promise; each has a loss per sample, 0/1 or for dense answers in between."""

_REMEDY = "make the file again with models.calibrate"


def _nothing() -> NDArray[Any]:
    return np.empty((0, 0), np.float32)


@dataclass(frozen=True, slots=True)
class Record:
    """P prices by n samples. The first price is "full", the last "cheapest"; cost falls along the path.

    Where answers agree or don't (`Task.counted`), the record has `labels` and `predictions`; where they agree to a
    share, those are empty, and it has `agreement` and `quality`.

    Attributes:
        prices: float64 [P], ascending from -inf to +inf.
        labels: int16 [n], the true classes.
        predictions: int16 [P, n], arg-max of the answer given.
        exits: int8 [P, n], index among the package's exits.
        macs: int64 [P, n], spent by the whole walk.
        routes: uint16 [R, S], how often each of R different walks runs each place (a ragged one: how many rows).
        route: int32 [P, n], which of them a sample's walk is.
        agreement: float32 [P, n] in 0..1, how far the answer agrees with the full network's.
        quality: float32 [P, n] in 0..1, how far it agrees with the truth.
    """

    prices: NDArray[np.float64]
    labels: NDArray[np.int16]
    predictions: NDArray[np.int16]
    exits: NDArray[np.int8]
    macs: NDArray[np.int64]
    routes: NDArray[np.uint16]
    route: NDArray[np.int32]
    agreement: NDArray[np.float32] = field(default_factory=_nothing)
    quality: NDArray[np.float32] = field(default_factory=_nothing)

    @property
    def size(self) -> int:
        """Number of calibration samples."""
        return len(self.labels) if self.counted else int(self.quality.shape[1])

    @property
    def counted(self) -> bool:
        """Whether losses are 0 or 1."""
        return not self.quality.size

    def price_within(self, macs: float, share: float) -> Price:
        """The lowest price at which at least that share of the walks costs no more than `macs`, else the highest."""
        fits = (self.macs <= macs).mean(axis=1) >= share
        return Price(float(self.prices[fits.argmax()])) if fits.any() else CHEAPEST

    def losses(self, kind: str) -> NDArray[np.bool_] | NDArray[np.float64]:
        """Losses [P, n] of one of `LOSSES`: bool if they are counted, else float64 in 0..1.

        accuracy: the answer is wrong. agreement: it differs from the full network's. max_drop: it is wrong where the
        full network is right (harm only: exits that repair the full network earn nothing, which is conservative).
        Of dense answers the same in shares.
        """
        if not self.counted:
            return self._shares(kind)
        full = self.predictions[0]
        if kind == "agreement":
            return np.asarray(self.predictions != full)
        wrong = np.asarray(self.predictions != self.labels)
        return wrong if kind == "accuracy" else wrong & (full == self.labels)

    def _shares(self, kind: str) -> NDArray[np.float64]:
        if kind == "agreement":
            return 1.0 - self.agreement.astype(np.float64)
        quality = self.quality.astype(np.float64)
        return 1.0 - quality if kind == "accuracy" else np.maximum(quality[0] - quality, 0.0)


_COLUMNS: dict[str, tuple[type[np.generic], int]] = {
    "prices": (np.float64, 1),
    "labels": (np.int16, 1),
    "predictions": (np.int16, 2),
    "exits": (np.int8, 2),
    "macs": (np.int64, 2),
    "routes": (np.uint16, 2),
    "route": (np.int32, 2),
    "agreement": (np.float32, 2),
    "quality": (np.float32, 2),
}
"""Type and number of axes of each array."""
_COUNTED, _SHARES = ("labels", "predictions"), ("agreement", "quality")
"""Arrays that only records of the one or the other kind have."""


def read(arrays: Mapping[str, NDArray[Any]], file: Path, graph: StageGraph, *, counted: bool = True) -> Record:
    """Record from the arrays of a calibration file; `counted` as the task has it.

    A chain needs no `routes` and `route`: there a walk's exit tells which stages it ran.

    Raises:
        PackageError: an array is missing, or types, shapes, order or the ends of the path are wrong.
    """
    if graph.chain and "exits" in arrays and not {"routes", "route"} & set(arrays):
        arrays = {**arrays, "routes": _up_to_each_exit(graph), "route": arrays["exits"]}
    others = _SHARES if counted else _COUNTED
    wanted = [name for name in _COLUMNS if name not in others]
    missing = [name for name in wanted if name not in arrays]
    if missing:
        raise PackageError(file, missing[0], "array is missing", _REMEDY)
    columns = {name: _column(name, arrays[name], file) for name in wanted}
    if not counted:
        columns |= {"labels": np.empty(0, np.int16), "predictions": np.empty((0, 0), np.int16)}
    record = Record(**columns)
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
    kinds = ("predictions",) if record.counted else _SHARES
    for name in (*kinds, "exits", "macs", "route"):
        found = getattr(record, name).shape
        if found != shape:
            raise PackageError(file, name, f"shape {found} is not (prices, samples) = {shape}", _REMEDY)
    for name in () if record.counted else _SHARES:
        values = getattr(record, name)
        if not np.all((values >= 0) & (values <= 1)):
            raise PackageError(file, name, "values must be in 0..1", _REMEDY)


def _up_to_each_exit(graph: StageGraph) -> NDArray[np.uint16]:
    """The walks of a chain, one an exit: uint16 [K, S]."""
    ends = np.flatnonzero(np.array(graph.exit_of) >= 0)
    return (np.arange(len(graph.names)) <= ends[:, None]).astype(np.uint16)
