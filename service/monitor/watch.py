"""One certificate under watch: suspended when the traffic contradicts it, stepped down, tested anew, reinstated."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.monitor.martingale import Wealth
from service.package.certificates import p_value, smallest_sample
from service.package.curves import Certificate, Curve, epsilon

Shares = NDArray[np.float64]
_LARGEST = 2
"""Blocks grow up to this many times the calibration split: what a certificate took, a recovery may take."""
_BELOW_1 = 1.0 - 1e-6


class Watch:
    """Follows a certificate through the audited walks of its model.

    Its price is the end of a path that begins with the full network. Prices are given as their places on that path:
    `home` is the certificate's own, `place` the one to serve now. A price is served only while it and every one before
    it stand uncontradicted, as in the fixed-sequence test that chose it; place 0 agrees with the full network by
    definition.

    `rungs` are the places that the price may take, from 0 to `home`. Where audits tell of the whole path, that is each
    of them; where they tell only of prices that were walked at, only the full network is there to step down to.

    What is watched is disagreement. An `agreement` certificate promises at most epsilon of it. A `max_drop` certificate
    promises less than can be seen without labels: its answers may well disagree more often than they spoil one. There
    the alarm is raised when they disagree more often than `disagreement` [P], the calibration split's bound for
    requests like its own: then these requests aren't.
    """

    def __init__(
        self, certificate: Certificate, curve: Curve, disagreement: Shares, *, alpha: float, whole_path: bool = True
    ) -> None:
        self.certificate = certificate
        self.home = int(np.searchsorted(curve.record.prices, certificate.price))
        self.rungs = np.arange(self.home + 1) if whole_path else np.unique([0, self.home])
        self._curve, self._alpha = curve, alpha
        self._bars = _bars(certificate, disagreement[self.rungs])
        self._wealth = Wealth(self._bars, alpha)
        number = int if curve.record.counted else float
        self._retrial = Retrial(self._bars, 1.0 - certificate.confidence, _LARGEST * certificate.n, number)
        self._ceiling = len(self.rungs) - 1
        self._move()

    @property
    def suspended(self) -> bool:
        """Whether a safer price than the certificate's own is served."""
        return self.place < self.home

    def observe(self, losses: NDArray[np.float64]) -> int:
        """Learn from one audited walk: its losses in 0..1, NaN for unknown, [P] over the whole path; one that tells
        nothing of some rung counts for nothing. Returns by how many places the price moved.
        """
        before, known = self.place, losses[self.rungs]
        if np.isnan(known).any():
            return 0
        # What raised the alarm mustn't also decide whether to lift it: only walks after it count, all of them.
        proven = self._retrial.observe(known) if self.suspended else None
        self._wealth.observe(known)
        self._move()
        self._recover(proven)
        return self.place - before

    def _recover(self, proven: int | None) -> None:
        if proven is not None and self.rungs[proven] > self.place:
            self._ceiling, self._wealth = proven, Wealth(self._bars, self._alpha)
            self._move()

    def _move(self) -> None:
        contradicted = np.flatnonzero(self._wealth.crossed[: self._ceiling + 1])
        self.place = int(self.rungs[contradicted[0] - 1 if len(contradicted) else self._ceiling])
        self.in_force = self._curve.stepped_down(self.certificate, self.place) if self.suspended else self.certificate


class Retrial:
    """Tests a path on blocks of fresh walks, as its calibration did: each block once, the i-th at delta / 2^i.

    So, over all blocks ever, a price whose risk is above its bar is passed with a probability of at most delta.
    """

    def __init__(self, bars: Shares, delta: float, largest: int, number: type[int] | type[float] = int) -> None:
        """`number`: int where losses are 0 or 1 and counted, which tests them exactly; float where they are summed."""
        self._bars, self._delta, self._largest, self._number = bars, delta, largest, number
        self._attempt = 1
        self._begin()

    @property
    def level(self) -> float:
        """delta of the present attempt."""
        return self._delta / 2.0**self._attempt

    def observe(self, losses: NDArray[np.float64] | NDArray[np.bool_]) -> int | None:
        """Count one walk; at the end of a block, the last place of the path that passes."""
        self._losses += losses
        self._seen += 1
        if self._seen < self.size:
            return None
        passed = self._passed()
        self._attempt += 1
        self._begin()
        return passed

    def _begin(self) -> None:
        """Blocks grow: small ones soon find a price that is far from its bar, large ones the last price that holds."""
        bar = float(self._bars[-1])
        grown = smallest_sample(bar, self._delta) * 2 ** min(self._attempt, 32)
        self.size = max(smallest_sample(bar, self.level), min(grown, self._largest))
        self._losses, self._seen = np.zeros(len(self._bars)), 0

    def _passed(self) -> int:
        for place in range(1, len(self._bars)):
            if p_value(self._number(self._losses[place]), self._seen, float(self._bars[place])) > self.level:
                return place - 1
        return len(self._bars) - 1


def _bars(certificate: Certificate, disagreement: Shares) -> Shares:
    """The disagreement that contradicts each price up to the certificate's, float64 [home + 1]."""
    allowed = np.full(len(disagreement), epsilon(certificate.kind, certificate.target))
    bars = np.maximum(allowed, disagreement) if certificate.kind == "max_drop" else allowed
    return np.asarray(bars.clip(max=_BELOW_1))
