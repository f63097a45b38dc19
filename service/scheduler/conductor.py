"""The conductor: receive walkers, choose a batch, let it run, settle it.

Every method is quick, takes the time as an argument and touches nothing outside, so that a test, a replay and the
server drive the same object. It is not thread-safe: the executor holds a lock around it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping
from itertools import count

import numpy as np

from service.core import (
    CHEAPEST,
    FULL,
    Audit,
    OnMiss,
    Outcome,
    Price,
    Reached,
    Reason,
    Release,
    Standing,
    Walker,
    Watcher,
)
from service.errors import Cancelled, DeadlinePassed, Overloaded, StageFailed
from service.routing.base import LEAVE, Routing
from service.scheduler import ways
from service.scheduler.batch import Batch, Ended
from service.scheduler.batching import Batching
from service.scheduler.course import Course
from service.scheduler.market import Market
from service.scheduler.queues import Place, Queues
from service.scheduler.shadows import Shadows, leaves_audited, next_wanted
from service.scheduler.steps import Ran, reached, step


class Conductor:
    """Schedules the walkers of several models on the lanes of one kind of device."""

    def __init__(self, courses: Mapping[str, Course], *, lanes: int = 1) -> None:
        self.courses = dict(courses)
        self.market = Market({name: course.trade for name, course in courses.items()}, lanes=lanes)
        self.queues = Queues()
        self.shadows = Shadows()
        self._batching = Batching(self.courses, self.queues)
        self._lanes = lanes
        self._running: dict[Batch, float] = {}
        self._ended: list[Ended] = []
        self._reached: list[tuple[Watcher, Reached]] = []
        # (moment from which on the next exit can't be reached in time, number, walker, its ticket)
        self._latest: list[tuple[float, int, Walker, int]] = []
        self._number = count()
        self._looks: list[Walker] = []
        self._looking: set[Walker] = set()
        self._coming = 0

    def admit(self, walker: Walker, now: float) -> None:
        """Let a walker in: from now on the market counts it as waiting, though its input may still be on its way.

        Raises:
            Overloaded: even at the highest price somebody would miss a deadline because of it; or its own time, long
                enough when it came, is up already.
            DeadlinePassed: its own deadline can't be kept even on an idle device, and it asked to fail then.
        """
        left = walker.terms.deadline.left(now)
        if self.market.seconds_to_exit(walker) > left:
            if walker.terms.on_miss is OnMiss.FAIL:
                raise DeadlinePassed("no exit can be reached before the deadline, even on an idle device")
            if walker.terms.deadline.allows(walker.arrived_at, self.market.seconds_to_exit(walker)):
                raise Overloaded("its time was up before its turn came", retry_after=-left)
            walker.late = True
        else:
            late = self.market.lateness(walker, now, self._busy(now))
            if late > 0:
                raise Overloaded("the queue is full to its deadlines", retry_after=late)
        self.market.add(walker)
        self._coming += 1

    def withdraw(self, walker: Walker) -> None:
        """An admitted walker will not come: its input could not be read, or its client has gone."""
        walker.done = True
        self.market.remove(walker)
        self._coming -= 1

    def submit(self, walker: Walker, now: float) -> None:
        """Receive an admitted walker: it waits at its first stage from now on."""
        self._coming -= 1
        self._wait(walker, now)

    def arrive(self, walker: Walker, seconds: float, now: float) -> None:
        """The glimpses that a walker was waiting for are there; making them took so many seconds."""
        self.courses[walker.model].looked(walker.stage, seconds)
        self._looking.discard(walker)
        if walker.done:
            return
        walker.looking = False
        if walker.shadow:
            self.shadows.wait(walker, now)
        else:
            self._wait(walker, now)

    def lose(self, walker: Walker, error: Exception, now: float) -> None:
        """The glimpses that a walker was waiting for can't be made."""
        self._looking.discard(walker)
        if not walker.done:
            self._take_out(walker)
            self._end(walker, now, error=error)

    def cancel(self, walker: Walker, now: float) -> None:
        """The client has gone: a waiting walker ends now, a running one with its stage."""
        walker.cancelled = True
        if walker.waiting or walker.looking:
            self._take_out(walker)
            self._end(walker, now, error=Cancelled("the client closed the connection"))

    def choose(self, now: float) -> Batch | None:
        """The next batch to run, led by the most urgent walker, else a shadow; None when neither waits."""
        self.expire(now)
        self.market.clear(now, self._busy(now))
        while (place := self.queues.most_urgent()) is not None:
            walkers, release = self._batching.gather(place, now)
            try:
                for walker in walkers:
                    self.market.remove(walker)
                staying = [walker for walker in walkers if not self._priced_out(walker, now)]
                if staying:
                    return self._begin(staying, release, now)
            except Exception as error:
                # Nobody else knows of them any more.
                for walker in walkers:
                    if not walker.done:
                        self._end(walker, now, error=StageFailed(f"choosing failed: {type(error).__name__}"))
                raise
        shadow = self.shadows.take()
        return self._begin(shadow, Release.IDLE, now) if shadow else None

    def settle(self, batch: Batch, routing: Routing, now: float) -> None:
        """Book a batch that ran, and send each walker on: to its next stage, or out."""
        self._finish(batch, now)
        course = self.courses[batch.model]
        course.observe(batch.stage, batch.rows, now - batch.started_at)
        for row, walker in enumerate(batch.walkers):
            self._stand(batch, routing, row)
            ran = Ran.of(batch, walker, now)
            after = ways.way(course, walker, routing, row, now)
            verdict = self._send(walker, after, batch.paid[row], now)
            if walker.trace is not None:
                walker.trace.append(step(course.graph, batch, routing, row, ran, verdict))

    def fail(self, batch: Batch, error: Exception, now: float) -> None:
        """A batch raised: its walkers end with that error."""
        self._finish(batch, now)
        for walker in batch.walkers:
            self._end(walker, now, error=error)

    def rescue(self, batch: Batch, error: Exception, now: float) -> None:
        """Settling a batch raised halfway: the walkers that it left neither ended nor waiting end with that error."""
        self._running.pop(batch, None)
        for walker in batch.walkers:
            if walker.waiting and not walker.shadow and walker.row < 0:
                self.queues.remove(walker)
            if not walker.done and not walker.waiting and not walker.looking:
                self._end(walker, now, error=error)

    @property
    def has_ended(self) -> bool:
        """Whether somebody's end is still to be told."""
        return bool(self._ended)

    def dismiss(self, now: float) -> None:
        """Drop all shadows, now and from now on: accepted work is finished without them."""
        looking = [walker for walker in self._looking if walker.shadow and not walker.done]
        for shadow in (*self.shadows.dismiss(), *looking):
            self._end(shadow, now, error=Cancelled("shadows aren't waited for"))

    def put(self, model: str, course: Course) -> None:
        """Schedule a model more, or another in the place of its namesake, none of whose walkers is left."""
        self.courses[model] = course
        self.market.put(model, course.trade)

    def drop_shadows(self, model: str, now: float) -> None:
        """End the waiting shadows of a model that makes way."""
        for shadow in self.shadows.drop(model):
            self._end(shadow, now, error=Cancelled("shadows aren't waited for"))

    def abandon(self, error: Exception, now: float) -> None:
        """End everybody who waits with an error: nobody will run them."""
        for walker in [*self.queues, *(walker for walker in self._looking if not walker.done)]:
            self._take_out(walker)
            self._end(walker, now, error=error)

    def expire(self, now: float) -> None:
        """Let the waiting walkers go that can't reach another exit in time."""
        while self._latest and self._latest[0][0] < now:
            _, _, walker, ticket = heapq.heappop(self._latest)
            if _waits(walker, ticket):
                self._take_out(walker)
                self._miss(walker, now)

    def next_expiry(self) -> float:
        """The moment at which `expire` may next have something to do."""
        while self._latest and not _waits(*self._latest[0][2:]):
            heapq.heappop(self._latest)
        return self._latest[0][0] if self._latest else math.inf

    @property
    def expects(self) -> bool:
        """Whether somebody is still to come: let in and not submitted yet, or away for a glimpse."""
        return self._coming > 0 or any(not walker.done for walker in self._looking)

    @property
    def has_looks(self) -> bool:
        """Whether glimpses are still to be asked for."""
        return bool(self._looks)

    def take_looks(self) -> list[Walker]:
        """Hand over the walkers that need the glimpses of the stage that they stand at; each is to `arrive`."""
        looks, self._looks = self._looks, []
        return looks

    def take_reached(self) -> list[tuple[Watcher, Reached]]:
        """Hand over the exits that watched walkers passed since the last call, in order."""
        reached, self._reached = self._reached, []
        return reached

    def take_ended(self) -> list[Ended]:
        """Hand over the walkers that ended since the last call, each once."""
        ended, self._ended = self._ended, []
        return ended

    def _busy(self, now: float) -> float:
        """Seconds until a lane is free, on average over the lanes."""
        return sum(max(0.0, end - now) for end in self._running.values()) / self._lanes

    def _wait(self, walker: Walker, now: float) -> None:
        walker.since = now
        self.queues.push(walker)
        if not walker.late and walker.terms.deadline.at < math.inf:
            latest = walker.terms.deadline.at - self.courses[walker.model].seconds_to_exit(walker.stage, walker.rows)
            heapq.heappush(self._latest, (latest, next(self._number), walker, walker.ticket))

    def _look(self, walker: Walker, now: float) -> None:
        """A walker that stands at its next stage needs glimpses first. The market counts it as waiting all the same."""
        walker.looking = True
        walker.ticket, walker.since = self.queues.ticket(), now
        self._looking.add(walker)
        self._looks.append(walker)
        latest = walker.terms.deadline.at - self.courses[walker.model].seconds_to_exit(walker.stage, walker.rows)
        if not walker.late and latest < math.inf:
            heapq.heappush(self._latest, (latest, next(self._number), walker, walker.ticket))

    def _take_out(self, walker: Walker) -> None:
        if walker.waiting:
            self.queues.remove(walker)
        if not walker.shadow:
            self.market.remove(walker)

    def _priced_out(self, walker: Walker, now: float) -> bool:
        """End a waiting walker that at today's price would rather leave with the answer that stands."""
        price = self.market.price_for(walker)
        if walker.standing is None or price == walker.terms.floor or walker.worth > price:
            return False
        walker.ledger.queue_s += now - walker.since
        self._end(walker, now, reason=Reason.OVERLOAD, price=price)
        return True

    def _begin(self, walkers: list[Walker], release: Release, now: float) -> Batch:
        for walker in walkers:
            walker.ledger.queue_s += now - walker.since
        place: Place = (walkers[0].model, walkers[0].stage)
        paid = [self._price(walker) for walker in walkers]
        chain = self.courses[place[0]].graph.chain
        told = [FULL if walker.audit and chain else price for walker, price in zip(walkers, paid, strict=True)]
        own = ways.own_prices(self.courses[place[0]], place[1], walkers, paid)
        rows = sum(walker.rows for walker in walkers)
        batch = Batch(*place, walkers, paid, np.array(told, np.float64), now, release, own, rows)
        self._running[batch] = now + self.courses[place[0]].times[place[1]].seconds(batch.rows)
        return batch

    def _price(self, walker: Walker) -> Price:
        """A late walker takes the first exit that its terms allow: its time is over."""
        return walker.terms.price(CHEAPEST) if walker.late else self.market.price_for(walker)

    def _finish(self, batch: Batch, now: float) -> None:
        del self._running[batch]
        graph = self.courses[batch.model].graph
        share, macs = (now - batch.started_at) / batch.rows, graph.macs[batch.stage]
        for walker in batch.walkers:
            rows = walker.rows
            walker.ledger.charge(graph.names[batch.stage], macs=macs * rows, device_s=share * rows, rows=rows)

    def _stand(self, batch: Batch, routing: Routing, row: int) -> None:
        graph = self.courses[batch.model].graph
        if routing.full is not None:
            batch.walkers[row].full_macs = int(routing.full[row])
        if routing.answer is not None and routing.score is not None and routing.worth is not None:
            walker = batch.walkers[row]
            # Copied: the batch's arrays are used again by the next batch, and would be kept alive by one row.
            answer, score = routing.answer[row].copy(), float(routing.score[row])
            walker.standing = Standing(graph.exits[graph.exit_of[batch.stage]], answer, score)
            walker.worth = Price(float(routing.worth[row]))
            if walker.watcher:
                self._reached.append((walker.watcher, reached(walker, walker.standing)))
            if walker.audit:
                walker.audit.worths.append(walker.worth)
                walker.audit.answers.append(walker.audit.keep(answer))

    def _send(self, walker: Walker, after: int, price: Price, now: float) -> str:
        """Decide what follows a stage: cancelled, out, forced out by a limit, or on. Returns the verdict in a word."""
        if walker.cancelled or (walker.shadow and self.shadows.dismissed):
            self._end(walker, now, error=Cancelled("the client closed the connection"))
            return "cancelled"
        reason = self._leaves(walker, after, price, now)
        walker.stage = walker.stage if after == LEAVE else after
        if reason is not None:
            self._end(walker, now, reason=reason, price=price)
            return reason.value
        if not walker.shadow:
            self.market.add(walker)
        self._go_to(walker, now)
        return "go on"

    def _go_to(self, walker: Walker, now: float, *, looks: bool | None = None) -> None:
        """On to the stage that it stands at: by way of its glimpses, where that asks for some."""
        if self.courses[walker.model].graph.looks[walker.stage] if looks is None else looks:
            self._look(walker, now)
        elif walker.shadow:
            self.shadows.wait(walker, now)
        else:
            self._wait(walker, now)

    def _leaves(self, walker: Walker, after: int, price: Price, now: float) -> Reason | None:
        """Why the walk ends here: the router's choice, or a limit that the next exit would break; None to go on."""
        if after == LEAVE or leaves_audited(self.courses[walker.model].graph, walker, price):
            return ways.own_choice(self.courses[walker.model], walker, price)
        return ways.limit(self.courses[walker.model], walker, after, now) if walker.standing is not None else None

    def _miss(self, walker: Walker, now: float) -> None:
        """The next exit can't be reached in time: answer with what stands, fail, or make way and be late."""
        if not walker.looking:
            walker.ledger.queue_s += now - walker.since
        if walker.standing is not None:
            self._end(walker, now, reason=Reason.DEADLINE)
        elif walker.terms.on_miss is OnMiss.FAIL:
            self._end(walker, now, error=DeadlinePassed("no exit can be reached before the deadline"))
        else:
            walker.late = True
            if not walker.looking:
                walker.since = now
                self.queues.push(walker)
            self.market.add(walker)

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
        if walker.audit:
            self._audited(walker, walker.audit, reason, now)
        # The expiry heap may hold the walker until its deadline: don't let it hold the input as well.
        walker.glimpses.clear()
        walker.looking = False
        if walker.trace is None:
            walker.source = None
        paid = self.market.price_for(walker) if price is None else price
        standing = walker.standing if error is None else None
        self._ended.append(Ended(walker, Outcome(reason, standing, error, now, paid)))

    def _audited(self, walker: Walker, audit: Audit, reason: Reason | None, now: float) -> None:
        """A walk on a chain that ends early with an answer is finished by a shadow; one through a graph is repeated by
        a shadow at the full price. Without an answer there is nothing to audit.
        """
        if reason is None:
            return
        graph = self.courses[walker.model].graph
        if not graph.chain:
            price = next_wanted(walker, audit, reason)
            if price is not None and not self.shadows.dismissed:
                # Where a later stage looks again, what the walker holds are not the glimpses of the first one.
                self._go_to(self.shadows.repeat(walker, price, now), now, looks=graph.looks_again)
        elif reason is Reason.LAST:
            audit.complete = True
        elif not self.shadows.dismissed:
            self._go_to(self.shadows.follow(walker, now), now)


def _waits(walker: Walker, ticket: int) -> bool:
    """Whether a walker still waits where it did when it got that ticket, or is away for the same glimpses."""
    return (walker.waiting or walker.looking) and walker.ticket == ticket
