"""The conductor: receive walkers, choose a batch, let it run, settle it.

Every method is quick, takes the time as an argument and touches nothing outside, so that a test, a replay and the
server drive the same object. It is not thread-safe: the executor holds a lock around it.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count

import numpy as np
from numpy.typing import NDArray

from service.core import NEVER, OnMiss, Outcome, Price, Reason, Standing, Step, Walker
from service.errors import Cancelled, DeadlinePassed
from service.package.graph import StageGraph
from service.routing.base import LEAVE, Routing
from service.scheduler.estimator import StageTimes
from service.scheduler.market import Market
from service.scheduler.queues import Place, Queues


class Course:
    """What the scheduler knows of a model: its stage graph and how long its stages take."""

    def __init__(self, graph: StageGraph, times: list[StageTimes]) -> None:
        self.graph = graph
        self.times = times
        self._macs_to_exit = [round(macs) for macs in graph.to_next_exit(graph.macs)]

    def macs_to_exit(self, stage: int) -> int:
        """MACs from the start of a stage to the next exit."""
        return self._macs_to_exit[stage]

    def seconds_to_exit(self, stage: int) -> float:
        """Expected seconds from the start of a stage to the next exit, for a batch of one."""
        return self.graph.to_next_exit([times.seconds(1) for times in self.times])[stage]


@dataclass(frozen=True, slots=True)
class Batch:
    """Walkers that stand at one stage and run it together; `prices` float64 [rows]."""

    model: str
    stage: int
    walkers: list[Walker]
    prices: NDArray[np.float64]
    started_at: float


@dataclass(frozen=True, slots=True)
class Ended:
    """A walker whose walk is over, to be told so."""

    walker: Walker
    outcome: Outcome


class Conductor:
    """Schedules the walkers of several models on one kind of device."""

    def __init__(self, courses: Mapping[str, Course], market: Market) -> None:
        self.courses = courses
        self.market = market
        self.queues = Queues()
        self._ended: list[Ended] = []
        # (moment after which the next exit can't be reached in time, number, walker, stage it then waited at)
        self._latest: list[tuple[float, int, Walker, int]] = []
        self._number = count()

    def submit(self, walker: Walker, now: float) -> None:
        """Receive a walker: it waits at its stage from now on."""
        walker.since = now
        self.queues.push(walker)
        self._watch(walker)

    def cancel(self, walker: Walker, now: float) -> None:
        """The client has gone: a waiting walker ends now, a running one with its stage."""
        walker.cancelled = True
        if not walker.done and not walker.running:
            self.queues.forget(walker)
            self._end(walker, now, error=Cancelled("the client closed the connection"))

    def choose(self, now: float) -> Batch | None:
        """The next batch to run, led by the most urgent walker; None when nobody waits."""
        self.expire(now)
        place = self.queues.most_urgent()
        if place is None:
            return None
        walkers = self._gather(place, now)
        for walker in walkers:
            walker.running = True
            walker.ledger.queue_s += now - walker.since
        prices = np.array([walker.terms.price(self.market.price) for walker in walkers], np.float64)
        return Batch(*place, walkers, prices, now)

    def settle(self, batch: Batch, routing: Routing, now: float) -> None:
        """Book a batch that ran, and send each walker on: to its next stage, or out."""
        self.courses[batch.model].times[batch.stage].observe(len(batch.walkers), now - batch.started_at)
        for row, walker in enumerate(batch.walkers):
            self._book(batch, row, now)
            self._stand(batch, routing, row)
            waited = batch.started_at - walker.since
            verdict = self._send(walker, int(routing.next[row]), Price(float(batch.prices[row])), now)
            if walker.trace is not None:
                walker.trace.append(self._step(batch, row, waited, now - batch.started_at, verdict))

    def fail(self, batch: Batch, error: Exception, now: float) -> None:
        """A batch raised: its walkers end with that error."""
        for row, walker in enumerate(batch.walkers):
            self._book(batch, row, now)
            self._end(walker, now, error=error)

    def expire(self, now: float) -> None:
        """End the waiting walkers that can't reach another exit in time."""
        while self._latest and self._latest[0][0] < now:
            _, _, walker, stage = heapq.heappop(self._latest)
            if not walker.done and not walker.running and walker.stage == stage:
                self.queues.forget(walker)
                self._miss(walker, now)

    def next_expiry(self) -> float:
        """The moment at which `expire` may next have something to do."""
        return self._latest[0][0] if self._latest else float("inf")

    def take_ended(self) -> list[Ended]:
        """Hand over the walkers that ended since the last call, each once."""
        ended, self._ended = self._ended, []
        return ended

    def _gather(self, place: Place, now: float) -> list[Walker]:
        """Walkers for a batch: as many as pay by the profile and as the tightest deadline among them allows."""
        course = self.courses[place[0]]
        times = course.times[place[1]]
        walkers = self.queues.pop(place, times.best_rows)
        after = course.seconds_to_exit(place[1]) - times.seconds(1)
        slacks = [walker.terms.deadline.left(now) - after for walker in walkers]
        tightest = min((slack for slack in slacks if slack >= times.seconds(1)), default=float("inf"))
        fit = times.rows_within(tightest, len(walkers))
        for walker in walkers[fit:]:
            self.queues.push(walker)
        return walkers[:fit]

    def _book(self, batch: Batch, row: int, now: float) -> None:
        walker, graph = batch.walkers[row], self.courses[batch.model].graph
        walker.running = False
        share = (now - batch.started_at) / len(batch.walkers)
        walker.ledger.charge(graph.names[batch.stage], macs=graph.macs[batch.stage], device_s=share)

    def _stand(self, batch: Batch, routing: Routing, row: int) -> None:
        graph = self.courses[batch.model].graph
        if routing.answer is not None and routing.score is not None:
            # Copied: the batch's arrays are used again by the next batch, and would be kept alive by one row.
            answer, score = routing.answer[row].copy(), float(routing.score[row])
            batch.walkers[row].standing = Standing(graph.exits[graph.exit_of[batch.stage]], answer, score)

    def _send(self, walker: Walker, after: int, price: Price, now: float) -> str:
        """Decide what follows a stage: cancelled, out, forced out by a limit, or on. Returns the verdict in a word."""
        if walker.cancelled:
            self._end(walker, now, error=Cancelled("the client closed the connection"))
            return "cancelled"
        reason = self._leaves(walker, after, now)
        if reason is not None:
            self._end(walker, now, reason=reason, price=price)
            return reason.value
        walker.stage = after
        self.submit(walker, now)
        return "go on"

    def _leaves(self, walker: Walker, after: int, now: float) -> Reason | None:
        """Why the walk ends here: the router's choice, or a limit that the next exit would break; None to go on."""
        course = self.courses[walker.model]
        if after == LEAVE:
            return Reason.CONFIDENT if course.graph.after[walker.stage] else Reason.LAST
        if walker.standing is None:
            return None
        if walker.ledger.macs + course.macs_to_exit(after) > walker.terms.max_macs:
            return Reason.COMPUTE
        in_time = walker.terms.deadline.allows(now, course.seconds_to_exit(after))
        return None if in_time else Reason.DEADLINE

    def _watch(self, walker: Walker) -> None:
        """Remember when waiting any longer would miss the deadline."""
        if self._can_stop(walker) and walker.terms.deadline != NEVER:
            latest = walker.terms.deadline.at - self.courses[walker.model].seconds_to_exit(walker.stage)
            heapq.heappush(self._latest, (latest, next(self._number), walker, walker.stage))

    def _can_stop(self, walker: Walker) -> bool:
        """Whether a miss can end this walker now; best effort without any answer yet has to run on to one."""
        return walker.standing is not None or walker.terms.on_miss is OnMiss.FAIL

    def _miss(self, walker: Walker, now: float) -> None:
        walker.ledger.queue_s += now - walker.since
        price = walker.terms.price(self.market.price)
        if walker.standing is not None:
            self._end(walker, now, reason=Reason.DEADLINE, price=price)
        else:
            self._end(walker, now, error=DeadlinePassed("no exit can be reached before the deadline"), price=price)

    def _end(
        self,
        walker: Walker,
        now: float,
        *,
        reason: Reason | None = None,
        error: Exception | None = None,
        price: Price | None = None,
    ) -> None:
        walker.done = True
        # The expiry heap may hold the walker until its deadline: don't let it hold the input as well.
        walker.glimpses.clear()
        paid = walker.terms.price(self.market.price) if price is None else price
        standing = walker.standing if error is None else None
        self._ended.append(Ended(walker, Outcome(reason, standing, error, now, paid)))

    def _step(self, batch: Batch, row: int, waited: float, ran: float, verdict: str) -> Step:
        graph, standing = self.courses[batch.model].graph, batch.walkers[row].standing
        answered = standing is not None and graph.exit_of[batch.stage] >= 0
        return Step(
            stage=graph.names[batch.stage],
            exit=standing.exit if standing and answered else None,
            score=standing.score if standing and answered else None,
            price=Price(float(batch.prices[row])),
            batch_rows=len(batch.walkers),
            queue_s=waited,
            stage_s=ran,
            verdict=verdict,
        )
