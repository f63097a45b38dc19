"""Shadows: they finish the walks of audited walkers whose answers are out, on compute that nobody else wants."""

from __future__ import annotations

import sys

from service.core import FULL, NEVER, Audit, Outcome, Price, Reason, Terms, Walker
from service.package.graph import StageGraph
from service.scheduler.queues import Queues


def _terms(price: Price) -> Terms:
    """Without limits, whenever there is time."""
    return Terms(price, price, NEVER, max_macs=sys.maxsize, urgency_at=0.0)


class Shadows:
    """The shadows that wait. None of them is in the market: nobody makes way for them, and they for everybody."""

    def __init__(self) -> None:
        self._queues = Queues()
        self.dismissed = False

    def __len__(self) -> int:
        """Shadows that wait."""
        return len(self._queues)

    def follow(self, walker: Walker, now: float) -> Walker:
        """A walker on a chain has its answer and stands before a stage: its shadow goes on from there to the end."""
        shadow = self._shadow(walker, FULL, now)
        shadow.stage, shadow.standing, shadow.worth = walker.stage, walker.standing, walker.worth
        shadow.look = walker.look
        return shadow

    def repeat(self, walker: Walker, price: Price, now: float) -> Walker:
        """A walk through a graph is over: its shadow walks once more, from the first stage on, at another price."""
        return self._shadow(walker, price, now)

    def _shadow(self, walker: Walker, price: Price, now: float) -> Walker:
        shadow = Walker(walker.model, _terms(price), now, dict(walker.glimpses), _nobody, slot=walker.slot, shadow=True)
        shadow.audit, shadow.source = walker.audit, walker.source
        # From here on the shadow alone owns the slot, so that it is freed exactly once.
        walker.slot = -1
        return shadow

    def wait(self, shadow: Walker, now: float) -> None:
        """A shadow waits at its next stage."""
        shadow.since = now
        self._queues.push(shadow)

    def take(self) -> list[Walker]:
        """The next to run, alone: whoever comes meanwhile has to wait for no more than one row of one stage."""
        place = self._queues.most_urgent()
        return self._queues.pop(place, 1) if place else []

    def dismiss(self) -> list[Walker]:
        """No more shadows from now on; hands over those that wait."""
        self.dismissed = True
        return self._taken(list(self._queues))

    def drop(self, model: str) -> list[Walker]:
        """Hands over those of one model that wait."""
        return self._taken([shadow for shadow in self._queues if shadow.model == model])

    def _taken(self, left: list[Walker]) -> list[Walker]:
        for shadow in left:
            self._queues.remove(shadow)
        return left


def leaves_audited(graph: StageGraph, walker: Walker, price: Price) -> bool:
    """The routers' rule, applied here to an audited walker on a chain, which its router was told to send on."""
    audited = walker.audit is not None and graph.chain and graph.exit_of[walker.stage] >= 0
    return audited and price != FULL and walker.worth <= price


def next_wanted(walker: Walker, audit: Audit, reason: Reason) -> Price | None:
    """Note what a walk through a graph answered; the next price at which to walk it, None once it is complete."""
    if walker.standing is not None and not reason.forced:
        # Unforced: at every fork it went where its own price leads.
        audit.walks[walker.terms.floor] = audit.keep(walker.standing.output)
    wanted = [price for price in (FULL, audit.probe) if price is not None and price not in audit.walks]
    audit.complete = not wanted
    return wanted[0] if wanted else None


def _nobody(_: Walker, __: Outcome) -> None:
    """Whoever waited has the answer already."""
