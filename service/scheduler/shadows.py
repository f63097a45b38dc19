"""Shadows: they finish the walks of audited walkers whose answers are out, on compute that nobody else wants."""

from __future__ import annotations

import sys

from service.core import FULL, NEVER, Outcome, Price, Terms, Walker
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

    def follow(self, walker: Walker, now: float) -> None:
        """A walker on a chain has its answer and stands before a stage: its shadow goes on from there to the end."""
        shadow = self._shadow(walker, FULL, now)
        shadow.stage, shadow.standing, shadow.worth = walker.stage, walker.standing, walker.worth
        self._take_over(walker, shadow, now)

    def repeat(self, walker: Walker, price: Price, now: float) -> None:
        """A walk through a graph is over: its shadow walks once more, from the first stage on, at another price."""
        self._take_over(walker, self._shadow(walker, price, now), now)

    def _shadow(self, walker: Walker, price: Price, now: float) -> Walker:
        shadow = Walker(walker.model, _terms(price), now, dict(walker.glimpses), _nobody, slot=walker.slot, shadow=True)
        shadow.audit = walker.audit
        return shadow

    def _take_over(self, walker: Walker, shadow: Walker, now: float) -> None:
        # From here on the shadow alone owns the slot, so that it is freed exactly once.
        walker.slot = -1
        self.wait(shadow, now)

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


def _nobody(_: Walker, __: Outcome) -> None:
    """Whoever waited has the answer already."""
