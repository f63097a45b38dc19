"""Lanes: threads that run stage batches. The only place that waits on compute."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import numpy as np

from service import cores
from service.core import Reached, Walker, Watcher
from service.errors import NotReady, OfframpError, StageFailed
from service.routing.base import LEAVE, Router, routed, straight
from service.runtime.base import Runner
from service.scheduler.batch import Batch, Ended
from service.scheduler.conductor import Conductor
from service.scheduler.course import Course

log = logging.getLogger(__name__)

_IDLE_S = 1.0
"""A lane looks up at least this often, so that a stop is never missed for long."""
_NO_LANE = NotReady("no lane is left to run stages; the server has to be restarted")


class Executor:
    """Runs what the conductor chooses, one thread a runner, with one lock around the conductor.

    `on_batch` (batch, seconds), `on_ended` and `on_look` (a walker that needs glimpses, and is to `arrive` with them or
    to be `lost`) are called by lane threads, or by whoever submits or cancels, outside the lock; they must be quick and
    must not raise.
    """

    def __init__(
        self,
        conductor: Conductor,
        routers: Mapping[str, Router],
        runners: Sequence[Runner],
        *,
        on_batch: Callable[[Batch, float], None],
        on_ended: Callable[[Ended], None],
        on_look: Callable[[Walker], None],
    ) -> None:
        self._conductor, self._routers = conductor, dict(routers)
        self._on_batch, self._on_ended, self._on_look = on_batch, on_ended, on_look
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._earlier = threading.Condition(lock)
        self._awaited = 0.0
        self._stopping = False
        self._lanes, self._dead = len(runners), list[str]()
        self._threads = [
            threading.Thread(target=self._lane, args=(runner,), name=f"lane-{number}", daemon=True)
            for number, runner in enumerate(runners)
        ]
        self._threads.append(threading.Thread(target=self._keep_time, name="timekeeper", daemon=True))

    def start(self) -> None:
        """Start the lanes."""
        for thread in self._threads:
            thread.start()

    @property
    def dead(self) -> list[str]:
        """Names of lanes that ended by an error of the scheduler itself, which only a restart mends."""
        return list(self._dead)

    @property
    def alive(self) -> bool:
        """Whether a lane is left that runs what waits."""
        return len(self._dead) < self._lanes

    def stop(self, patience_s: float) -> None:
        """Finish what waits, but not shadows, then end the lanes. Who still waits after `patience_s` is told so."""
        with self._acting() as conductor:
            self._stopping = True
            conductor.dismiss(time.monotonic())
            self._changed.notify_all()
            self._earlier.notify_all()
        deadline = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._acting() as conductor:
            conductor.abandon(NotReady("the server stopped before the walk ended"), time.monotonic())

    def admit(self, walkers: Sequence[Walker]) -> None:
        """Let all of a request's walkers in, or none and raise why not: see `Conductor.admit`."""
        with self._acting() as conductor:
            now = time.monotonic()
            for place, walker in enumerate(walkers):
                try:
                    conductor.admit(walker, now)
                except Exception:
                    for admitted in walkers[:place]:
                        conductor.withdraw(admitted)
                    raise

    def put(self, model: str, course: Course, router: Router) -> None:
        """Run a model more, or another in the place of its namesake, none of whose walkers is left."""
        with self._acting() as conductor:
            self._routers[model] = router
            conductor.put(model, course)

    def drop_shadows(self, model: str) -> None:
        """End the waiting shadows of a model that makes way."""
        with self._acting() as conductor:
            conductor.drop_shadows(model, time.monotonic())

    def withdraw(self, walker: Walker) -> None:
        """An admitted walker will not be submitted."""
        with self._acting() as conductor:
            conductor.withdraw(walker)
            self._changed.notify()

    def submit(self, walker: Walker) -> None:
        """Hand an admitted walker to the conductor and wake a lane."""
        with self._acting() as conductor:
            conductor.submit(walker, time.monotonic())
            if not self.alive:
                conductor.abandon(_NO_LANE, time.monotonic())
            self._changed.notify()
            self._set_clock()

    def arrive(self, walker: Walker, seconds: float) -> None:
        """The glimpses that a walker needed are made, which took so many seconds; wake a lane."""
        with self._acting() as conductor:
            conductor.arrive(walker, seconds, time.monotonic())
            self._changed.notify()
            self._set_clock()

    def lose(self, walker: Walker, error: Exception) -> None:
        """The glimpses that a walker needed can't be made: it ends with that error."""
        with self._acting() as conductor:
            conductor.lose(walker, error, time.monotonic())
            self._changed.notify()

    def cancel(self, walker: Walker) -> None:
        """Its client has gone: it ends now if it waits, or with the stage that it is in."""
        with self._acting() as conductor:
            conductor.cancel(walker, time.monotonic())

    @contextmanager
    def _acting(self) -> Iterator[Conductor]:
        """Act on the conductor alone; then, outside the lock, whoever passed an exit or ended is told."""
        reached: Sequence[tuple[Watcher, Reached]] = ()
        ended: Sequence[Ended] = ()
        looks: Sequence[Walker] = ()
        try:
            with self._changed:
                try:
                    yield self._conductor
                finally:
                    reached, ended = self._conductor.take_reached(), self._conductor.take_ended()
                    looks = self._conductor.take_looks()
        finally:
            for watcher, passed in reached:
                watcher(passed)
            self._tell(ended)
            for walker in looks:
                self._on_look(walker)

    def _lane(self, runner: Runner) -> None:
        cores.step_back()
        try:
            while (batch := self._next()) is not None:
                self._turn(runner, batch)
        except Exception:
            log.critical("a lane is dead: batches can't be chosen", exc_info=True)
            self._die()

    def _turn(self, runner: Runner, batch: Batch) -> None:
        """Run a batch and settle it. An error of settling ends those that it left in the air, not the lane."""
        settle = self._run(runner, batch)
        # Before anybody is told: who has an answer finds its batches counted, and a model that makes way isn't needed.
        self._on_batch(batch, time.monotonic() - batch.started_at)
        with self._acting() as conductor:
            now = time.monotonic()
            try:
                settle(now)
            except Exception as error:
                log.exception("a batch of stage %d of %s could not be settled", batch.stage, batch.model)
                conductor.rescue(batch, StageFailed(f"settling failed: {type(error).__name__}"), now)
            self._set_clock()
            # This lane takes one batch itself; another may be there for a lane that sleeps.
            if len(conductor.queues) > 1:
                self._changed.notify()

    def _die(self) -> None:
        """An error that would come again at every turn ends a lane, but not in silence; with the last one all end."""
        with self._acting() as conductor:
            self._dead.append(threading.current_thread().name)
            if not self.alive:
                conductor.abandon(_NO_LANE, time.monotonic())

    def _next(self) -> Batch | None:
        """Wait for the next batch; None when the lane shall end. Tells those that expire meanwhile."""
        while True:
            with self._acting() as conductor:
                batch = conductor.choose(time.monotonic())
                over = self._stopping and not conductor.expects
                if batch is None and not (conductor.has_ended or conductor.has_looks or over):
                    self._changed.wait(_IDLE_S)
            if batch is not None or over:
                return batch

    def _keep_time(self) -> None:
        """Let those go whose time is up, also while every lane is busy with a long stage."""
        while not self._stopping:
            with self._acting() as conductor:
                now = time.monotonic()
                conductor.expire(now)
                if not conductor.has_ended and not self._stopping:
                    self._awaited = min(conductor.next_expiry(), now + _IDLE_S)
                    self._earlier.wait(max(0.0, self._awaited - now))

    def _set_clock(self) -> None:
        """Wake the timekeeper if somebody's time is up sooner than it thinks."""
        if self._conductor.next_expiry() < self._awaited:
            self._earlier.notify()

    def _run(self, runner: Runner, batch: Batch) -> Callable[[float], None]:
        """Run and route a batch; returns what to do with it at the conductor, given the time."""
        try:
            outputs = runner.run(batch.model, batch.stage, batch.walkers)
            graph = self._conductor.courses[batch.model].graph
            if graph.rows[batch.stage] > 1:
                routing = straight(len(batch.walkers), graph.after[batch.stage][0])
            else:
                router = self._routers[batch.model]
                routing = routed(router, batch.stage, outputs, batch.prices, batch.own_prices)
            going_on = np.flatnonzero(routing.next != LEAVE).tolist()
            if going_on:
                runner.keep(batch.model, batch.stage, batch.walkers, going_on)
        except Exception as error:
            log.exception("stage %d of %s failed for %d rows", batch.stage, batch.model, len(batch.walkers))
            told = error if isinstance(error, OfframpError) else StageFailed(f"stage failed: {type(error).__name__}")
            return partial(self._conductor.fail, batch, told)
        return partial(self._conductor.settle, batch, routing)

    def _tell(self, ended: Sequence[Ended]) -> None:
        for one in ended:
            try:
                self._on_ended(one)
            except Exception:
                # A lane that died of one listener would leave everybody else waiting.
                log.exception("the outcome of a walk of %s could not be told", one.walker.model)
