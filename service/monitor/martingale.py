"""An alarm that is valid at every time: wealth won by betting against a promise.

For each price of a path, somebody who believes "its risk is above epsilon" bets on every audited walk at odds that are
fair if the risk is exactly epsilon: the wealth W_t = prod(1 + nu_t (l_t - eps)) with nu_t in [0, 1/(2 eps)] known
before l_t. While the promise holds W is a nonnegative supermartingale that starts at 1, so it ever reaches 1/alpha with
a probability of at most alpha (Ville, 1939), however often one looks. Betting on bounded means is due to Waudby-Smith &
Ramdas (2024); to watch a deployed model for harmful shifts so, to Podkopaev & Ramdas (ICLR 2022); to watch each policy
of a path so that one can step down, to Timans et al. (UAI 2025).

What differs here is nu_t. An estimate of the risk so far (aGRAPA) is late after a long good time: the good past has to
be outweighed first. Here nu_t is what a portfolio bets: constant bets of many sizes (Cover's universal portfolio, 1991)
and a reserve that bets nothing and is handed out to them little by little, so that there is always money that has lost
nothing yet (the mixture over starting times of e-detectors: Shin, Ramdas & Rinaldo, 2023). It is still one predictable
nu_t: the mean of the bets by their share of the wealth.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

_BETS = 8
_LEAST = 0.5
"""The smallest bet: best against a risk of about 1.5 epsilon. The largest, 1/(2 eps), is best against about 1/2."""
_MOST_WEALTH = 1e12
"""Far above every threshold; prices beyond all promises would win without end."""


class Wealth:
    """One bettor for each of P prices; `epsilon` float64 [P] in (0, 1] is what each price promises.

    Attributes:
        crossed: bool [P], whether the wealth ever reached 1/alpha.
        seen: audited walks so far.
    """

    def __init__(self, epsilon: NDArray[np.float64], alpha: float) -> None:
        self._epsilon, self._threshold = epsilon, 1.0 / alpha
        self._sizes = np.geomspace(np.full(len(epsilon), _LEAST), 0.5 / epsilon, _BETS)
        self._staked = np.zeros((_BETS, len(epsilon)))
        self.crossed = np.zeros(len(epsilon), np.bool_)
        self.seen = 0

    @property
    def total(self) -> NDArray[np.float64]:
        """W, float64 [P]."""
        return np.asarray(self._staked.sum(axis=0) + _reserve(self.seen))

    @property
    def bets(self) -> NDArray[np.float64]:
        """nu, float64 [P]: what is bet on the next walk, per unit of wealth."""
        staked = self._staked + self._handed_out()
        return np.asarray((self._sizes * staked).sum(axis=0) / self.total)

    def observe(self, losses: NDArray[np.float64] | NDArray[np.bool_]) -> None:
        """Settle the bets on one walk; `losses` [P] in 0..1."""
        won = 1.0 + self._sizes * (losses - self._epsilon)
        self._staked = np.minimum((self._staked + self._handed_out()) * won, _MOST_WEALTH)
        self.seen += 1
        self.crossed |= self.total >= self._threshold

    def _handed_out(self) -> float:
        """What each bet size now gets of the reserve."""
        return (_reserve(self.seen) - _reserve(self.seen + 1)) / _BETS


def _reserve(seen: int) -> float:
    """Wealth not yet handed out. What begins to bet after t walks has about 1/(t log(t)^2) to begin with."""
    return 1.0 / math.log(math.e + seen)
