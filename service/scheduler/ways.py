"""Which way a walk goes on from a stage: the router's, or the one that a limit leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from service.core import Price, Reason, Walker
from service.routing.base import LEAVE, Routing
from service.scheduler.course import Course


def own_prices(
    course: Course, stage: int, walkers: Sequence[Walker], paid: Sequence[Price]
) -> NDArray[np.float64] | None:
    """What each would pay if nothing were scarce, float64 [rows]; None where they do, or if only one stage follows."""
    floors = [walker.terms.floor for walker in walkers]
    fork = len(course.graph.after[stage]) > 1
    return np.array(floors, np.float64) if fork and floors != list(paid) else None


def way(course: Course, walker: Walker, routing: Routing, row: int, now: float) -> int:
    """The stage that follows, or LEAVE.

    It is the router's choice; or where no answer stands yet and that would break a limit, the dearest way to an answer
    that the limits allow. A walker that is sent another way than its own price leads is noted as diverted.
    """
    after = int(routing.next[row])
    if routing.own is not None and after not in (LEAVE, int(routing.own[row])):
        walker.diverted = Reason.DEADLINE if walker.late else Reason.OVERLOAD
    if after == LEAVE or walker.standing is not None:
        return after
    broken, choices = limit(course, walker, after, now), course.graph.after[walker.stage]
    if broken is None or len(choices) == 1:
        return after
    allowed = [choice for choice in choices if limit(course, walker, choice, now) is None]
    if not allowed and broken is Reason.DEADLINE:
        # Too late whichever way: then at least the way that it wanted.
        return after
    walker.diverted = broken
    return max(allowed, key=course.macs_to_exit) if allowed else min(choices, key=course.macs_to_exit)


def limit(course: Course, walker: Walker, after: int, now: float) -> Reason | None:
    """The limit that going on to the next exit by that stage would break; None if it breaks none."""
    if walker.ledger.macs + course.macs_to_exit(after) > walker.terms.max_macs:
        return Reason.COMPUTE
    if walker.late or not walker.terms.deadline.allows(now, course.seconds_to_exit(after)):
        return Reason.DEADLINE
    return None
