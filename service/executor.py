"""Lanes: threads that run stage batches. The only place that waits on compute."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from service.core import Walker
from service.errors import NotReady, OfframpError, StageFailed
from service.routing.base import LEAVE, Router, routed
from service.runtime.base import Runner
from service.scheduler.conductor import Batch, Conductor, Ended

log = logging.getLogger(__name__)

_IDLE_S = 1.0
"""A lane looks up at least this often, so that a stop is never missed for long."""


class Executor:
    """Runs what the conductor chooses, one thread a runner, with one lock around the conductor.

    `on_batch` (batch, seconds) and `on_ended` are called by lane threads, or by whoever submits or cancels, outside the
    lock; they must be quick and must not raise.
    """

    def __init__(
        self,
        conductor: Conductor,
        routers: Mapping[str, Router],
        runners: Sequence[Runner],
        *,
        on_batch: Callable[[Batch, float], None],
        on_ended: Callable[[Ended], None],
    ) -> None:
        self._conductor, self._routers = conductor, routers
        self._on_batch, self._on_ended = on_batch, on_ended
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._earlier = threading.Condition(lock)
        self._awaited = 0.0
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._lane, args=(runner,), name=f"lane-{number}", daemon=True)
            for number, runner in enumerate(runners)
        ]
        self._threads.append(threading.Thread(target=self._keep_time, name="timekeeper", daemon=True))

    def start(self) -> None:
        """Start the lanes."""
        for thread in self._threads:
            thread.start()

    def stop(self, patience_s: float) -> None:
        """Finish what waits, but not shadows, then end the lanes. Who still waits after `patience_s` is told so."""
        with self._changed:
            self._stopping = True
            self._conductor.dismiss(time.monotonic())
            ended = self._conductor.take_ended()
            self._changed.notify_all()
            self._earlier.notify_all()
        self._tell(ended)
        deadline = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            self._conductor.abandon(NotReady("the server stopped before the walk ended"), time.monotonic())
            ended = self._conductor.take_ended()
        self._tell(ended)

    def admit(self, walker: Walker) -> None:
        """Let a walker in, or raise why not: see `Conductor.admit`."""
        with self._changed:
            self._conductor.admit(walker, time.monotonic())

    def withdraw(self, walker: Walker) -> None:
        """An admitted walker will not be submitted."""
        with self._changed:
            self._conductor.withdraw(walker)

    def submit(self, walker: Walker) -> None:
        """Hand an admitted walker to the conductor and wake a lane."""
        with self._changed:
            self._conductor.submit(walker, time.monotonic())
            self._changed.notify()
            self._set_clock()

    def cancel(self, walker: Walker) -> None:
        """Its client has gone: it ends now if it waits, or with the stage that it is in."""
        with self._changed:
            self._conductor.cancel(walker, time.monotonic())
            ended = self._conductor.take_ended()
        self._tell(ended)

    def _lane(self, runner: Runner) -> None:
        while (batch := self._next()) is not None:
            settle = self._run(runner, batch)
            with self._changed:
                now = time.monotonic()
                settle(now)
                reached, ended = self._conductor.take_reached(), self._conductor.take_ended()
                self._set_clock()
                # This lane takes one batch itself; another may be there for a lane that sleeps.
                if len(self._conductor.queues) > 1:
                    self._changed.notify()
            for watcher, passed in reached:
                watcher(passed)
            self._on_batch(batch, now - batch.started_at)
            self._tell(ended)

    def _next(self) -> Batch | None:
        """Wait for the next batch; None when the lane shall end. Tells those that expire meanwhile."""
        while True:
            with self._changed:
                now = time.monotonic()
                batch = self._conductor.choose(now)
                ended = self._conductor.take_ended()
                stopping = self._stopping
                if batch is None and not ended and not stopping:
                    self._changed.wait(_IDLE_S)
            self._tell(ended)
            if batch is not None or stopping:
                return batch

    def _keep_time(self) -> None:
        """Let those go whose time is up, also while every lane is busy with a long stage."""
        while not self._stopping:
            with self._changed:
                now = time.monotonic()
                self._conductor.expire(now)
                ended = self._conductor.take_ended()
                if not ended and not self._stopping:
                    self._awaited = min(self._conductor.next_expiry(), now + _IDLE_S)
                    self._earlier.wait(max(0.0, self._awaited - now))
            self._tell(ended)

    def _set_clock(self) -> None:
        """Wake the timekeeper if somebody's time is up sooner than it thinks."""
        if self._conductor.next_expiry() < self._awaited:
            self._earlier.notify()

    def _run(self, runner: Runner, batch: Batch) -> Callable[[float], None]:
        """Run and route a batch; returns what to do with it at the conductor, given the time."""
        try:
            outputs = runner.run(batch.model, batch.stage, batch.walkers)
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
