"""The waiting walkers as columns of numbers, so that a price can be tried on all of them at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.core import Walker


@dataclass(frozen=True, slots=True)
class Entry:
    """What the market needs of one waiting walker.

    Attributes:
        urgency: its place in the order of service, in seconds.
        deadline: in seconds.
        model: number of its model.
        stage: where it waits.
        floor, ceiling: places on the model's price path between which it pays.
        last: the last place on the path at which it goes on rather than leave with the answer that stands.
        shift: steps of the menu by which its priority moves the price that it pays.
    """

    urgency: float
    deadline: float
    model: int
    stage: int
    floor: int
    ceiling: int
    last: int
    shift: int


class Book:
    """Entries in dense columns; each walker knows its row."""

    def __init__(self) -> None:
        self._walkers: list[Walker] = []
        self._times = np.empty((2, 64))
        self._codes = np.empty((6, 64), np.int64)

    def __len__(self) -> int:
        """Walkers that wait."""
        return len(self._walkers)

    @property
    def times(self) -> NDArray[np.float64]:
        """urgency and deadline, float64 [2, waiting]."""
        return self._times[:, : len(self._walkers)]

    @property
    def codes(self) -> NDArray[np.int64]:
        """model, stage, floor, ceiling, last and shift, int64 [6, waiting]."""
        return self._codes[:, : len(self._walkers)]

    def add(self, walker: Walker, entry: Entry) -> None:
        """A walker begins to wait."""
        row = len(self._walkers)
        if row == self._times.shape[1]:
            self._times = np.concatenate((self._times, np.empty_like(self._times)), axis=1)
            self._codes = np.concatenate((self._codes, np.empty_like(self._codes)), axis=1)
        self._times[:, row] = (entry.urgency, entry.deadline)
        self._codes[:, row] = (entry.model, entry.stage, entry.floor, entry.ceiling, entry.last, entry.shift)
        self._walkers.append(walker)
        walker.row = row

    def remove(self, walker: Walker) -> None:
        """A walker no longer waits; the last row moves into its place."""
        row, last = walker.row, self._walkers.pop()
        if last is not walker:
            self._times[:, row] = self._times[:, last.row]
            self._codes[:, row] = self._codes[:, last.row]
            self._walkers[row] = last
            last.row = row
        walker.row = -1
