"""The certified curve of a package: what each price costs and promises, and which price a target buys."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from service.core import Price
from service.errors import ImpossibleBudget
from service.package.certificates import certified_risks, fixed_sequence, upper_bound
from service.package.manifest import DEFAULT_AGREEMENT
from service.package.record import LOSSES, Record

DEFAULT_CONFIDENCE = 0.95
_MOST_ISSUED = 4096


@dataclass(frozen=True, slots=True)
class Certificate:
    """A promise on the average over requests like the calibration data: risk <= 1 - `target` with `confidence`.

    Void for forced exits, another package, execution provider or precision than it names.
    """

    id: str
    kind: str
    target: float
    confidence: float
    n: int
    k: int | float
    """Losses among the n calibration samples: counted, or the sum of shares."""
    price: Price
    mean_macs: float
    package: str
    provider: str
    precision: str


def epsilon(kind: str, target: float) -> float:
    """The risk that a target allows."""
    return target if kind == "max_drop" else 1.0 - target


@dataclass(frozen=True, slots=True)
class CurvePoint:
    """One price of the path on the calibration split. Shares in 0..1; `certified_*` hold at `DEFAULT_CONFIDENCE`."""

    price: Price
    mean_macs: float
    fraction_of_full: float
    accuracy: float
    agreement: float
    certified_accuracy: float
    certified_agreement: float
    certified_max_drop: float


@dataclass(frozen=True)
class Curve:
    """The price path of one package, ready to certify targets. `package` is the package's hash."""

    record: Record
    full_macs: int
    package: str
    provider: str
    precision: str = "float32"
    default_agreement: float = DEFAULT_AGREEMENT
    _issued: dict[tuple[str, float, float], Certificate] = field(default_factory=dict)

    @cached_property
    def mean_macs(self) -> list[float]:
        """Mean MACs of a walk at each price."""
        return [float(mean) for mean in self.record.macs.mean(axis=1)]

    @cached_property
    def losses(self) -> dict[str, list[int] | list[float]]:
        """Losses at each price by kind: counted, or where answers agree to a share, summed."""
        number = int if self.record.counted else float
        return {kind: [number(k) for k in self.record.losses(kind).sum(axis=1)] for kind in LOSSES}

    def certify(self, kind: str, target: float, confidence: float) -> Certificate:
        """The certificate of the cheapest walk that keeps the target; issued once, then remembered.

        Raises:
            ImpossibleBudget: not even the full network can be certified for it; says what can.
        """
        key = (kind, target, confidence)
        if key not in self._issued:
            if len(self._issued) >= _MOST_ISSUED:
                # Targets are the clients' to choose: no memory for all of them. Issuing again gives the same.
                self._issued.clear()
            self._issued[key] = self._issue(kind, target, confidence)
        return self._issued[key]

    def stepped_down(self, certificate: Certificate, place: int) -> Certificate:
        """The same promise at a safer price, which the calibration split passed on the way to the certificate's own."""
        return self._certificate(certificate.kind, certificate.target, certificate.confidence, place, f" at {place}")

    def _issue(self, kind: str, target: float, confidence: float) -> Certificate:
        passed = self._cheapest(kind, epsilon(kind, target), 1.0 - confidence)
        if passed is None:
            raise self._impossible(kind, target, confidence)
        return self._certificate(kind, target, confidence, passed)

    def _certificate(self, kind: str, target: float, confidence: float, passed: int, mark: str = "") -> Certificate:
        text = f"{self.package} {self.provider} {self.precision} {kind} {target!r} {confidence!r}{mark}"
        return Certificate(
            id=hashlib.sha256(text.encode()).hexdigest()[:16],
            kind=kind,
            target=target,
            confidence=confidence,
            n=self.record.size,
            k=self.losses[kind][passed],
            price=Price(float(self.record.prices[passed])),
            mean_macs=self.mean_macs[passed],
            package=self.package,
            provider=self.provider,
            precision=self.precision,
        )

    def _cheapest(self, kind: str, epsilon: float, delta: float) -> int | None:
        """Index of the price to serve. The full network agrees with itself and drops nothing: it needs no test."""
        passed = fixed_sequence(self.losses[kind], self.record.size, epsilon, delta)
        return 0 if passed is None and kind != "accuracy" else passed

    def _impossible(self, kind: str, target: float, confidence: float) -> ImpossibleBudget:
        best = 1.0 - upper_bound(self.losses[kind][0], self.record.size, 1.0 - confidence)
        # Rounded down: what the message offers must itself be certifiable.
        offer = np.floor(best * 1e4) / 1e4
        return ImpossibleBudget(
            f"{kind} {target:g} can't be certified at confidence {confidence:g}: "
            f"the full network reaches {offer:g} on {self.record.size} calibration samples",
            budget=kind,
            asked=target,
            best=float(offer),
        )

    def certified(self, kind: str, confidence: float) -> list[float]:
        """The smallest risk that each price can be certified for, float [P].

        The full network's is 0 against itself: no test is needed for that, as in `certify`.
        """
        risks = certified_risks(self.losses[kind], self.record.size, 1.0 - confidence)
        return risks if kind == "accuracy" else [0.0, *risks[1:]]

    @cached_property
    def default(self) -> Certificate:
        """What a request without any budget is served under: the cheapest walk certified for the default agreement."""
        return self.certify("agreement", self.default_agreement, DEFAULT_CONFIDENCE)

    @cached_property
    def points(self) -> list[CurvePoint]:
        """The curve, one point a price, on the calibration split."""
        risks = {kind: self.certified(kind, DEFAULT_CONFIDENCE) for kind in LOSSES}
        n = self.record.size
        return [
            CurvePoint(
                price=Price(float(price)),
                mean_macs=self.mean_macs[j],
                fraction_of_full=self.mean_macs[j] / self.full_macs,
                accuracy=1.0 - self.losses["accuracy"][j] / n,
                agreement=1.0 - self.losses["agreement"][j] / n,
                certified_accuracy=1.0 - risks["accuracy"][j],
                certified_agreement=1.0 - risks["agreement"][j],
                certified_max_drop=risks["max_drop"][j],
            )
            for j, price in enumerate(self.record.prices)
        ]
