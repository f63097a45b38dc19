"""At the door: can this model keep this budget at all, and on what terms does the walk begin?"""

from __future__ import annotations

import math
from typing import Protocol

from service.core import CHEAPEST, FULL, NEUTRAL, Budget, Deadline, Price, Terms
from service.errors import ImpossibleBudget
from service.package.curves import Certificate
from service.package.graph import StageGraph
from service.package.load import Package

_MIDDLE = 3
"""The default urgency of RFC 9218."""
_FITS = 0.9
"""A compute limit is planned for at a price at which this share of the walks keeps within it; the others are forced."""


class Promises(Protocol):
    """The certificates that stand now: the auditor's."""

    def in_force(self, kind: str, target: float, confidence: float) -> Certificate:
        """The certificate of a target, or a safer one while it is suspended; raises ImpossibleBudget."""

    @property
    def default(self) -> Certificate:
        """What requests without a budget are served under."""


def admit(
    budget: Budget,
    promises: Promises,
    package: Package,
    *,
    arrived_at: float,
    default_deadline_s: float,
    reserve_s: float = 0.0,
) -> Terms:
    """Terms of a walk: the interval of prices and the hard limits that the budget stands for. The walk has to end
    `reserve_s` seconds before the answer is due, yet never has less than half of its time.

    Raises:
        ImpossibleBudget: a target that can't be certified, or a compute limit below the cheapest exit.
    """
    certificate = _certificate(budget, promises)
    patience = default_deadline_s if budget.latency_ms is None else budget.latency_ms / 1e3
    floor = certificate.price if certificate else _floor(budget, promises, package)
    reserve = min(reserve_s, patience / 2)
    return Terms(
        floor=floor,
        ceiling=floor if certificate else CHEAPEST,
        deadline=Deadline(arrived_at + patience - reserve),
        max_macs=_max_macs(budget, package.graph),
        urgency_at=urgency(arrived_at, patience, budget.priority),
        priority=budget.priority,
        on_miss=budget.on_miss,
        certificate=certificate.id if certificate else None,
        reserve_s=reserve,
    )


def urgency(arrived_at: float, patience_s: float, priority: int) -> float:
    """A moment that orders the queues: the deadline, with the patience halved for each step of priority above the
    middle.

    It doesn't move, while later arrivals get later moments: whoever waits long enough is first, so nobody starves.
    """
    return arrived_at + patience_s * math.exp2(priority - _MIDDLE)


def _certificate(budget: Budget, promises: Promises) -> Certificate | None:
    """The certificate that binds: of several targets, the one that costs most also keeps the others."""
    issued = [promises.in_force(kind, target, budget.confidence) for kind, target in budget.quality.items()]
    return min(issued, key=lambda certificate: certificate.price, default=None)


def _floor(budget: Budget, promises: Promises, package: Package) -> Price:
    if budget.latency_ms is not None:
        return NEUTRAL
    if budget.compute_mmacs is None:
        return promises.default.price
    # A walk through a chain of exits may begin at the full price and be broken off by the limit. Any other has to
    # choose its way for the limit from its first stage on.
    return (
        FULL
        if package.graph.chain and package.graph.anytime
        else package.record.price_within(budget.compute_mmacs * 1e6, _FITS)
    )


def _max_macs(budget: Budget, graph: StageGraph) -> int:
    if budget.compute_mmacs is None:
        return graph.full_macs
    # Rounded first: 1.001001 * 1e6 is a hair below the MACs that it was meant to be.
    allowed = math.floor(round(min(budget.compute_mmacs * 1e6, graph.full_macs), 3))
    cheapest = round(graph.to_next_exit(graph.macs)[0])
    if allowed < cheapest:
        raise ImpossibleBudget(
            f"compute_mmacs {budget.compute_mmacs:g} is below the first exit, which costs {cheapest / 1e6:g}",
            budget="compute_mmacs",
            asked=budget.compute_mmacs,
            best=cheapest / 1e6,
        )
    return allowed
