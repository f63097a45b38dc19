"""An answer with its receipt: what came out, what it cost, and which budgets it kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.core import Budget, Deadline, Ledger, Outcome, Price, Reason, Standing, Step, Walker
from service.package.load import Package


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets for one input.

    Attributes:
        kept: for each budget kind that was asked (`latency_ms`, `accuracy`, ..), whether this answer keeps it. A
            certified target is kept unless the exit was forced: forced exits are outside the certificate.
        seconds: from the request's last byte to this answer.
        full_macs: MACs of the full walk of this input.
        seen: for each step of the trace what it looked at, in the words of the input's medium; empty unless explained.
        picture: PNG of what was looked at; None where there is nothing to show.
    """

    package: Package
    asked: Mapping[str, Any]
    standing: Standing
    reason: Reason
    ledger: Ledger
    price: Price
    certificate: str | None
    kept: Mapping[str, bool]
    seconds: float
    trace: list[Step] | None
    full_macs: int
    seen: Sequence[Sequence[Mapping[str, Any]]] = ()
    picture: bytes | None = None

    @classmethod
    def of(cls, package: Package, budget: Budget, walker: Walker, outcome: Outcome, now: float) -> Answer:
        """Answer of a walk that ended with a standing answer, as it goes out `now`."""
        if outcome.standing is None or outcome.reason is None:
            raise ValueError("a walk without a standing answer has no answer to give")
        return cls(
            package=package,
            asked=budget.asked,
            standing=outcome.standing,
            reason=outcome.reason,
            ledger=walker.ledger,
            price=outcome.price,
            certificate=walker.terms.certificate,
            kept=_kept(budget, walker.terms.due, outcome.reason, now),
            seconds=now - walker.arrived_at,
            trace=walker.trace,
            full_macs=walker.full_macs or package.graph.full_macs,
        )

    @property
    def fraction_of_full(self) -> float:
        """Share of the full network's MACs that this answer cost."""
        return self.ledger.macs / self.full_macs


def _kept(budget: Budget, deadline: Deadline, reason: Reason, now: float) -> dict[str, bool]:
    kept = dict.fromkeys(budget.quality, not reason.forced)
    if budget.latency_ms is not None:
        kept["latency_ms"] = deadline.left(now) >= 0
    if budget.compute_mmacs is not None:
        # No stage starts that would pass the limit, and admission refused limits below the first exit.
        kept["compute_mmacs"] = True
    return kept
