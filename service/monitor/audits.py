"""What an audited walk says of the prices of a path: would the answer given there agree with the full network's?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.core import FULL, Audit, Price


def losses(audit: Audit, prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """For each price 1 if the answer given there differs from the full network's, 0 if not, NaN if nobody knows: [P].

    `audit` is complete. On a chain its last answer is the full network's and every price is known. The rule is the
    routers': a walk leaves at the first exit that is worth no more than the price, and never at the price FULL. On a
    graph with ways to choose from, only the prices that were walked at are known.
    """
    if audit.walks:
        return np.array([_loss(audit, price) for price in prices.tolist()])
    worths, answers = np.array(audit.worths[:-1], np.float64), np.array(audit.answers)
    leaves = (worths[:, None] <= prices) & (prices != FULL)
    exits = (
        np.where(leaves.any(axis=0), leaves.argmax(axis=0), len(worths)) if len(worths) else np.zeros(len(prices), int)
    )
    return np.asarray(answers[exits] != answers[-1], np.float64)


def _loss(audit: Audit, price: float) -> float:
    answer = audit.walks.get(Price(price))
    return np.nan if answer is None else float(answer != audit.walks[FULL])
