"""What an audited walk says of every price: which answer it would have got there, and would that have agreed?"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from service.core import FULL, Audit


def losses(audit: Audit, prices: NDArray[np.float64]) -> NDArray[np.bool_]:
    """For each price, whether the answer given there differs from the full network's: bool [P].

    `audit` is complete: its last answer is the full network's. The rule is the routers': a walk leaves at the first
    exit that is worth no more than the price, and never at the price FULL.
    """
    worths, answers = np.array(audit.worths[:-1], np.float64), np.array(audit.answers)
    leaves = (worths[:, None] <= prices) & (prices != FULL)
    exits = (
        np.where(leaves.any(axis=0), leaves.argmax(axis=0), len(worths)) if len(worths) else np.zeros(len(prices), int)
    )
    return np.asarray(answers[exits] != answers[-1])
