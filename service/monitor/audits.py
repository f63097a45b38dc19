"""What an audited walk says of the prices of a path: would the answer given there agree with the full network's?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.core import FULL, Audit, Price
from service.task.base import Task


def losses(audit: Audit, prices: NDArray[np.float64], task: Task) -> NDArray[np.float64]:
    """For each price how far the answer given there differs from the full network's, 0..1, NaN if nobody knows: [P].

    `audit` is complete. On a chain its last answer is the full network's and every price is known. The rule is the
    routers': a walk leaves at the first exit that is worth no more than the price, and never at the price FULL. On a
    graph with ways to choose from, only the prices that were walked at are known.
    """
    if audit.walks:
        return np.array([_loss(audit, price, task) for price in prices.tolist()])
    worths = np.array(audit.worths[:-1], np.float64)
    lost = np.array([task.loss(answer, audit.answers[-1]) for answer in audit.answers])
    leaves = (worths[:, None] <= prices) & (prices != FULL)
    exits = (
        np.where(leaves.any(axis=0), leaves.argmax(axis=0), len(worths)) if len(worths) else np.zeros(len(prices), int)
    )
    return np.asarray(lost[exits], np.float64)


def _loss(audit: Audit, price: float, task: Task) -> float:
    answer = audit.walks.get(Price(price))
    return np.nan if answer is None else task.loss(answer, audit.walks[FULL])
