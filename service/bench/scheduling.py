"""What does the scheduler itself cost, per walker and stage?"""

from __future__ import annotations

from statistics import median
from time import perf_counter

import numpy as np

from service.core import CHEAPEST, FULL, Deadline, Terms, Walker
from service.package.load import Package
from service.routing.base import LEAVE, Routing
from service.scheduler.batch import Batch
from service.scheduler.conductor import Conductor
from service.scheduler.course import Course
from service.scheduler.estimator import StageTimes

_WALKERS = 256
_ROUNDS = 9
_BATCH = 8


def microseconds_per_walker_stage(package: Package) -> float:
    """Median over rounds: walkers go through all stages in batches of 8; looks, runs and routing are not counted."""
    return median(_round(package) for _ in range(_ROUNDS)) * 1e6


def _round(package: Package) -> float:
    graph = package.graph
    # The profile makes batches of 8 pay and no more, whatever the machine.
    times = [StageTimes((1, _BATCH), (1e-3, 2e-3)) for _ in graph.names]
    conductor = Conductor({package.name: Course.of(graph, times, package.record)})
    terms = Terms(FULL, CHEAPEST, Deadline(1e6), graph.full_macs, 0.0)
    walkers = [Walker(package.name, terms, 0.0, {}, lambda *_: None) for _ in range(_WALKERS)]
    spent, now, rows = 0.0, 0.0, 0
    start = perf_counter()
    for walker in walkers:
        conductor.admit(walker, now)
        conductor.submit(walker, now)
    spent += perf_counter() - start
    while True:
        start = perf_counter()
        batch = conductor.choose(now)
        spent += perf_counter() - start
        if batch is None:
            return spent / rows
        routing = _route(batch, len(graph.names) - 1)
        rows += len(batch.walkers)
        now += 2e-3
        start = perf_counter()
        conductor.settle(batch, routing, now)
        conductor.take_ended()
        for walker in conductor.take_looks():
            conductor.arrive(walker, 0.0, now)
        spent += perf_counter() - start


def _route(batch: Batch, last: int) -> Routing:
    rows = len(batch.walkers)
    after = np.full(rows, LEAVE if batch.stage == last else batch.stage + 1, np.int16)
    answer, score = np.full((rows, 10), 0.1, np.float32), np.full(rows, 0.1, np.float32)
    return Routing(after, answer, score, np.full(rows, np.inf))
