"""What is copied around a stage: state and glimpses into its buffers, what it made back into the pool."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core import Walker
from service.package.stage import Stage
from service.runtime.states import StatePool

Arrays = Mapping[str, NDArray[Any]]
Picked = tuple[Walker, int, int]
"""A walker, which of its rows, and how many of its picked ones come before that."""


@dataclass(frozen=True, slots=True)
class Moves:
    """Of one stage, looked up once: pool and buffer for what goes in, port and pool for what comes out."""

    gathered: list[tuple[NDArray[Any], NDArray[Any]]]
    shown: list[tuple[str, NDArray[Any]]]
    kept: list[tuple[str, NDArray[Any]]]
    gathered_rows: list[tuple[NDArray[Any], NDArray[Any]]]
    kept_rows: list[tuple[str, NDArray[Any]]]
    ragged: bool

    @classmethod
    def of(cls, stage: Stage, inputs: Arrays, outputs: Arrays, pool: StatePool) -> Moves:
        """Moves of a stage with these buffers."""
        return cls(
            gathered=[(pool.tensors[name], inputs[port]) for port, name in stage.reads.items()],
            shown=[(name, inputs[name]) for name in stage.glimpses],
            kept=[(port, pool.tensors[name]) for port, name in stage.writes.items()],
            gathered_rows=[(pool.tensors[name], inputs[port]) for port, name in stage.reads_rows.items()],
            kept_rows=[(port, pool.tensors[name]) for port, name in stage.writes_rows.items()],
            ragged=stage.ragged is not None,
        )

    def picked(self, walkers: Sequence[Walker]) -> list[Picked]:
        """All picked rows, one walker's behind the other's."""
        return [
            (walker, row, number)
            for walker in walkers
            if walker.picks is not None
            for number, row in enumerate(walker.picks.tolist())
        ]

    def gather_picked(self, part: Sequence[Picked]) -> None:
        """Fill the buffers of a ragged stage: a sample's own state goes to each of its rows."""
        slots, rows = [walker.slot for walker, _, _ in part], [row for _, row, _ in part]
        for pool, buffer in self.gathered:
            gather(pool, slots, buffer)
        for pool, buffer in self.gathered_rows:
            buffer[: len(part)] = pool[slots, rows]
        for name, buffer in self.shown:
            for place, (walker, _, number) in enumerate(part):
                buffer[place] = walker.glimpses[name][number]

    def scatter_picked(self, made: Arrays, walkers: Sequence[Walker], going_on: Sequence[int]) -> None:
        """Store what a ragged stage made of the walkers that go on."""
        picked, staying = self.picked(walkers), {id(walkers[row]) for row in going_on}
        places = [place for place, (walker, _, _) in enumerate(picked) if id(walker) in staying]
        slots, rows = [picked[place][0].slot for place in places], [picked[place][1] for place in places]
        for port, pool in self.kept_rows:
            pool[slots, rows] = made[port][places]


# One row is copied without numpy's index arrays: they would cost more than the copy, and a lone request is the one that
# a client waits for.


def gather(pool: NDArray[Any], slots: list[int], buffer: NDArray[Any]) -> None:
    """Copy rows of a pool into the head of a buffer."""
    if len(slots) == 1:
        buffer[0] = pool[slots[0]]
    else:
        pool.take(slots, axis=0, out=buffer[: len(slots)], mode="clip")


def scatter(outputs: NDArray[Any], rows: Sequence[int], pool: NDArray[Any], slots: list[int]) -> None:
    """Copy rows of a buffer into a pool."""
    if len(slots) == 1:
        pool[slots[0]] = outputs[rows[0]]
    else:
        pool[slots] = np.asarray(outputs)[list(rows)]
