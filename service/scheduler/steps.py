"""What is told of a walk while it goes: its steps, for `explain=true`, and the exits that a watched one passes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.core import Reached, Standing, Step, Walker
from service.package.graph import StageGraph
from service.routing.base import Routing
from service.scheduler.batch import Batch


@dataclass(frozen=True, slots=True)
class Ran:
    """How a walker ran a stage, noted before it is sent on.

    Attributes:
        waited_s, took_s: seconds in the queue and on the device.
        rows: that it brought.
        look: where its glimpses were taken, float32 [rows, coordinates]; None where that was not chosen.
    """

    waited_s: float
    took_s: float
    rows: int
    look: NDArray[np.float32] | None

    @classmethod
    def of(cls, batch: Batch, walker: Walker, now: float) -> Ran:
        """Of a batch that ended now."""
        return cls(batch.started_at - walker.since, now - batch.started_at, walker.rows, walker.look)


def step(graph: StageGraph, batch: Batch, routing: Routing, row: int, ran: Ran, verdict: str) -> Step:
    """What `explain` tells of a stage, once its walker was sent on."""
    walker = batch.walkers[row]
    standing = walker.standing if graph.exit_of[batch.stage] >= 0 else None
    return Step(
        stage=graph.names[batch.stage],
        exit=standing.exit if standing else None,
        score=standing.score if standing else None,
        price=batch.paid[row],
        batch_rows=batch.rows,
        queue_s=ran.waited_s,
        stage_s=ran.took_s,
        verdict=verdict,
        next=None if walker.done else graph.names[walker.stage],
        signals={name: values[row].tolist() for name, values in (routing.signals or {}).items()},
        place=batch.stage,
        rows=ran.rows,
        look=ran.look,
    )


def reached(walker: Walker, standing: Standing) -> Reached:
    """The exit that a watched walker just passed."""
    ledger = walker.ledger
    return Reached(standing, ledger.macs, ledger.device_s, tuple(ledger.stages), walker.full_macs)
