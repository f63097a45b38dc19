"""Servers on a virtual clock. Offramp's is the very conductor and market of the real server; the others are static."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from loadtest.arrivals import Times
from loadtest.traces import Device, Traces
from service.core import CHEAPEST, FULL, NEUTRAL, Deadline, Terms, Walker
from service.errors import OfframpError
from service.package.load import Package
from service.routing.base import LEAVE, Routing
from service.scheduler.batch import Batch, Ended
from service.scheduler.conductor import Conductor
from service.scheduler.course import Course
from service.scheduler.estimator import StageTimes

MODEL = "replayed"


@dataclass(slots=True)
class Tally:
    """What came of the requests, by exit index; `useful` were right and in time."""

    sent: int
    useful: int = 0
    late: int = 0
    refused: int = 0
    exits: list[int] = field(default_factory=list)

    @property
    def share_useful(self) -> float:
        """Useful answers as a share of all requests."""
        return self.useful / max(1, self.sent)


@dataclass(frozen=True, slots=True)
class Load:
    """Requests: when they arrive, which sample each is, and how long each may take."""

    times: Times
    samples: NDArray[np.int64]
    patience_s: float

    def __len__(self) -> int:
        """Number of requests."""
        return len(self.times)

    def deadline(self, request: int) -> float:
        """The moment by which a request must be answered."""
        return float(self.times[request]) + self.patience_s


class Offramp:
    """One lane driven by the real conductor; stages take what the device says, answers come from the traces."""

    def __init__(self, package: Package, traces: Traces, device: Device) -> None:
        self._traces, self._stages = traces, device.stages(traces.macs)
        times = [StageTimes((1, 2), (seconds, 2 * seconds)) for seconds in self._stages]
        self._course = Course.of(package.graph, times, package.record)

    def serve(self, load: Load) -> Tally:
        """Run a load to its end."""
        conductor = Conductor({MODEL: self._course})
        tally, now, arrived = Tally(len(load)), 0.0, 0
        sample_of: dict[Walker, int] = {}
        while True:
            batch = conductor.choose(now)
            self._count(conductor.take_ended(), sample_of, tally)
            if batch is not None:
                now += self._stages[batch.stage] * len(batch.walkers)
            elif arrived < len(load):
                now = float(load.times[arrived])
            else:
                return tally
            while arrived < len(load) and load.times[arrived] <= now:
                self._arrive(conductor, load, arrived, sample_of, tally)
                arrived += 1
            if batch is not None:
                conductor.settle(batch, self._route(batch, sample_of), now)

    def _arrive(
        self, conductor: Conductor, load: Load, request: int, sample_of: dict[Walker, int], tally: Tally
    ) -> None:
        at, deadline = float(load.times[request]), load.deadline(request)
        terms = Terms(NEUTRAL, CHEAPEST, Deadline(deadline), int(self._traces.macs.sum()), deadline)
        walker = Walker(MODEL, terms, at, {}, lambda *_: None)
        try:
            conductor.admit(walker, at)
        except OfframpError:
            tally.refused += 1
            return
        sample_of[walker] = int(load.samples[request])
        conductor.submit(walker, at)

    def _route(self, batch: Batch, sample_of: dict[Walker, int]) -> Routing:
        samples = [sample_of[walker] for walker in batch.walkers]
        worth = self._traces.worth[samples, batch.stage]
        last = batch.stage == self._traces.exits - 1
        goes_on = ((worth > batch.prices) | (batch.prices == FULL)) & (not last)
        after = np.where(goes_on, batch.stage + 1, LEAVE).astype(np.int16)
        scores = self._traces.scores[samples, batch.stage]
        return Routing(after, np.zeros((len(samples), 1), np.float32), scores, worth)

    def _count(self, ended: list[Ended], sample_of: dict[Walker, int], tally: Tally) -> None:
        for one in ended:
            exit_reached = len(one.walker.ledger.stages) - 1
            in_time = one.outcome.finished_at <= one.walker.terms.deadline.at
            right = self._traces.right[sample_of.pop(one.walker), exit_reached]
            tally.late += not in_time
            tally.useful += bool(in_time and right)
            tally.exits.append(exit_reached)


Exits = NDArray[np.int64]
"""For each sample of the traces the exit at which a static policy leaves."""


def thresholds(traces: Traces, confidence: float) -> Exits:
    """Leave at the first exit whose score reaches one confidence for all."""
    reached = traces.scores >= confidence
    reached[:, -1] = True
    return np.asarray(reached.argmax(axis=1))


def one_exit(traces: Traces, place: int) -> Exits:
    """Leave at one exit, always."""
    return np.full(traces.size, place, np.int64)


def serve_static(traces: Traces, device: Device, load: Load, exits: Exits, *, cut_short: bool) -> Tally:
    """A server whose exits are fixed beforehand: earliest deadline first, whoever can't be in time refused.

    With `cut_short` a walk whose deadline nears answers at the last exit that it reached: kinder than static servers
    are. Without it (the full network) a request is begun only if all of it fits.
    """
    until = np.cumsum(device.stages(traces.macs))
    tally, now, arrived = Tally(len(load)), 0.0, 0
    waiting: list[tuple[float, int]] = []
    while arrived < len(load) or waiting:
        if not waiting:
            now = max(now, float(load.times[arrived]))
        while arrived < len(load) and load.times[arrived] <= now:
            heapq.heappush(waiting, (load.deadline(arrived), int(load.samples[arrived])))
            arrived += 1
        deadline, sample = heapq.heappop(waiting)
        wanted = int(exits[sample])
        fits = int(np.searchsorted(until, deadline - now, side="right")) - 1
        place = min(wanted, fits)
        if place < 0 or (place < wanted and not cut_short):
            tally.refused += 1
            continue
        now += float(until[place])
        tally.useful += bool(traces.right[sample, place])
        tally.exits.append(place)
    return tally


def clairvoyant_share(traces: Traces, samples: NDArray[np.int64], load: float) -> float:
    """Upper bound on the useful share of these requests at a load (in capacities of the full network), for any policy.

    A fluid: it knows for each sample the cheapest exit that is right and spends nothing on samples that no exit gets
    right; it serves the cheapest first and splits requests at will; no deadline, order or burst ever hinders it.
    """
    until = np.cumsum(traces.macs)
    solvable = traces.right[samples].any(axis=1)
    cheapest = np.sort(until[traces.right[samples].argmax(axis=1)][solvable])
    spent = np.cumsum(cheapest) / len(samples) * load / until[-1]
    return int(np.searchsorted(spent, 1.0, side="right")) / len(samples)
