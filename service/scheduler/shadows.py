"""Shadows: they finish the walks of audited walkers whose answers are out, on compute that nobody else wants."""

from __future__ import annotations

import sys

from service.core import FULL, NEVER, Outcome, Terms, Walker
from service.scheduler.queues import Queues

_TERMS = Terms(FULL, FULL, NEVER, max_macs=sys.maxsize, urgency_at=0.0)
"""To the end of the network, whenever there is time."""


class Shadows:
    """The shadows that wait. None of them is in the market: nobody makes way for them, and they for everybody."""

    def __init__(self) -> None:
        self._queues = Queues()
        self.dismissed = False

    def __len__(self) -> int:
        """Shadows that wait."""
        return len(self._queues)

    def follow(self, walker: Walker, now: float) -> None:
        """A walker has its answer and stands before a stage: its shadow takes its state from there on."""
        shadow = Walker(
            walker.model,
            _TERMS,
            now,
            dict(walker.glimpses),
            _nobody,
            slot=walker.slot,
            stage=walker.stage,
            standing=walker.standing,
            worth=walker.worth,
            audit=walker.audit,
            shadow=True,
        )
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
        left = list(self._queues)
        for shadow in left:
            self._queues.remove(shadow)
        return left


def _nobody(_: Walker, __: Outcome) -> None:
    """Whoever waited has the answer already."""
