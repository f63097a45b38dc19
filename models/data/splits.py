"""Disjoint, stratified, seeded splits of a training set, with a hash to prove which rows they were."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int32]


@dataclass(frozen=True)
class Splits:
    """Row numbers of the original training set, int32, sorted; no row stands in two of them.

    `train` fits weights; `router` fits temperatures and gain maps; `calibration` certifies and serves nothing else.
    """

    train: Index
    router: Index
    calibration: Index

    def hashes(self) -> dict[str, str]:
        """SHA-256 of each split's little-endian int32 row numbers."""
        return {name: index_hash(index) for name, index in self.items()}

    def items(self) -> list[tuple[str, Index]]:
        """Name and rows of each split."""
        return [("train", self.train), ("router", self.router), ("calibration", self.calibration)]


def index_hash(index: Index) -> str:
    """SHA-256 over the row numbers as little-endian int32."""
    return hashlib.sha256(index.astype("<i4").tobytes()).hexdigest()


def stratified(labels: NDArray[np.integer], *, router: int, calibration: int, seed: int) -> Splits:
    """Draw `router` and `calibration` rows with equal shares of every class; the rest trains.

    Raises ValueError if a size does not divide by the number of classes, or if a class has too few rows.
    """
    classes = np.unique(labels)
    sizes = {"router": router, "calibration": calibration}
    _check_sizes(sizes, len(classes))
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[NDArray[np.int64]]] = {"router": [], "calibration": [], "train": []}
    for label in classes:
        rows = generator.permutation(np.flatnonzero(labels == label))
        first, second = router // len(classes), (router + calibration) // len(classes)
        if len(rows) <= second:
            raise ValueError(f"class {label} has {len(rows)} rows, more than {second} are needed")
        for name, part in zip(drawn, np.split(rows, [first, second]), strict=True):
            drawn[name].append(part)
    joined = {name: np.sort(np.concatenate(parts)).astype(np.int32) for name, parts in drawn.items()}
    return Splits(**joined)


def _check_sizes(sizes: Mapping[str, int], classes: int) -> None:
    for name, size in sizes.items():
        if size % classes:
            raise ValueError(f"{name}={size} does not divide by the {classes} classes")
