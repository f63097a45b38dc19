"""Which way a walk goes on from a stage: the router's, or the one that a limit leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.core import FULL, Price, Reason, Walker
from service.routing.base import LEAVE, Routing
from service.scheduler.course import Course


def own_prices(
    course: Course, stage: int, walkers: Sequence[Walker], paid: Sequence[Price]
) -> NDArray[np.float64] | None:
    """What each would pay if nothing were scarce, float64 [rows]; None where they do, or if the router has no choice:
    a single stage follows, and all of it.
    """
    floors, after = [walker.terms.floor for walker in walkers], course.graph.after[stage]
    choice = len(after) > 1 or any(course.graph.rows[place] > 1 for place in after)
    return np.array(floors, np.float64) if choice and floors != list(paid) else None


def way(course: Course, walker: Walker, routing: Routing, row: int, now: float) -> int:
    """The stage that follows, or LEAVE. The walker is told where to look there, and which of its rows run.

    It is the router's choice; or where no answer stands yet and that would break a limit, the dearest way to an answer
    that the limits allow. A walker that is sent another way than its own price leads is noted as diverted.
    """
    after = int(routing.next[row])
    if routing.own is not None and after != LEAVE and _differs(routing, routing.own, row):
        walker.diverted = Reason.DEADLINE if walker.late else Reason.OVERLOAD
    if after == LEAVE:
        return after
    _point(walker, routing, row)
    _shorten(course, walker, after, now)
    if walker.standing is not None:
        return after
    broken, choices = limit(course, walker, after, now), course.graph.after[walker.stage]
    if broken is None or len(choices) == 1:
        return after
    others = [choice for choice in choices if not course.graph.choosy[choice]]
    walker_as_it_was, (walker.picks, walker.look) = (walker.picks, walker.look), (None, None)
    allowed = [choice for choice in others if limit(course, walker, choice, now) is None]
    if not others or (not allowed and broken is Reason.DEADLINE):
        # Too late whichever way: then at least the way that it wanted.
        walker.picks, walker.look = walker_as_it_was
        return after
    walker.diverted = broken
    return max(allowed, key=course.macs_to_exit) if allowed else min(others, key=course.macs_to_exit)


def limit(course: Course, walker: Walker, after: int, now: float) -> Reason | None:
    """The limit that going on to the next exit by that stage would break; None if it breaks none."""
    if walker.ledger.macs + course.macs_to_exit(after, walker.rows) > walker.terms.max_macs:
        return Reason.COMPUTE
    seconds = course.look_seconds(after) + course.seconds_to_exit(after, walker.rows)
    if walker.late or not walker.terms.deadline.allows(now, seconds):
        return Reason.DEADLINE
    return None


def own_choice(course: Course, walker: Walker, price: Price) -> Reason:
    """Why it leaves where its router says so: the last exit, confidence, or what sent it here against its price."""
    if walker.diverted is not None:
        return walker.diverted
    if not course.graph.after[walker.stage] or walker.worth == FULL:
        return Reason.LAST
    if walker.worth <= walker.terms.floor or price == walker.terms.floor:
        return Reason.CONFIDENT
    return Reason.DEADLINE if walker.late else Reason.OVERLOAD


def _differs(routing: Routing, own: Routing, row: int) -> bool:
    """Whether a row's own price would have led it another way."""
    return (
        int(routing.next[row]) != int(own.next[row])
        or not _same(routing.picks, own.picks, row)
        or not _same(routing.look, own.look, row)
    )


def _same(given: Sequence[NDArray[np.generic] | None] | None, own: Sequence[object] | None, row: int) -> bool:
    one = None if given is None else given[row]
    other = None if own is None else own[row]
    if one is None or other is None:
        return one is other
    return bool(np.array_equal(one, np.asarray(other)))


def _point(walker: Walker, routing: Routing, row: int) -> None:
    walker.look = None if routing.look is None else routing.look[row]
    walker.picks = None if routing.picks is None else routing.picks[row]


def _shorten(course: Course, walker: Walker, after: int, now: float) -> None:
    """Leave out the least valuable rows that a limit has no room for; the first one stays."""
    if walker.picks is None:
        return
    most = len(walker.picks)
    spare = walker.terms.max_macs - walker.ledger.macs - course.macs_to_exit(after)
    payable = 1 + max(0, spare) // max(1, course.graph.macs[after])
    slack = walker.terms.deadline.left(now) - course.look_seconds(after) - course.seconds_to_exit(after)
    timely = course.rows_within(after, slack, most)
    if min(payable, timely) < most:
        walker.diverted = Reason.COMPUTE if payable <= timely else Reason.DEADLINE
        walker.picks = walker.picks[: min(payable, timely)]
        walker.look = None if walker.look is None else walker.look[: len(walker.picks)]
