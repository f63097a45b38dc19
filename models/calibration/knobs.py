"""Prices for the settings of a router's knob: which threshold is worth its compute at which price."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from service.core import FULL


def price_knobs(
    knobs: Sequence[float], mean_macs: NDArray[np.floating], correctness: NDArray[np.floating]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Tables `knob_prices` float64 [M] and `knobs` float32 [M] of a calibration file (service/routing/knobs.py).

    Of the settings only those on the concave hull of correctness over compute are kept: any other is beaten by its
    neighbours. Setting i is used from the price on at which the step to the next dearer one buys too little: the
    slope between them, in correctness per GMAC. The dearest setting stands first, at -inf; where a dearer one buys
    nothing, the price 0 belongs to the cheapest of the best.

    Args:
        knobs: settings of the knob, in any order; `mean_macs` and `correctness`, the share of right answers (or its
            expectation), stand beside them, measured on the router split. The dearest has to be the full walk.
        mean_macs: of a walk.
        correctness: in 0..1.
    """
    order = np.lexsort((correctness, mean_macs))[::-1]
    settings, macs, right = np.asarray(knobs, np.float64)[order], mean_macs[order] / 1e9, correctness[order]
    hull = _hull(macs, right)
    slopes = [float((right[dear] - right[cheap]) / (macs[dear] - macs[cheap])) for dear, cheap in pairwise(hull)]
    # The full walk is always there, at prices below 0, even where it is no better than a cheaper one.
    prices = np.array([FULL, *(max(slope, 0.0) for slope in slopes)])
    places = np.array(hull)
    last_of_equals = np.append(prices[1:] > prices[:-1], True)
    return prices[last_of_equals], settings[places][last_of_equals].astype(np.float32)


def _hull(macs: NDArray[np.floating], right: NDArray[np.floating]) -> list[int]:
    """Places of the full walk and of the upper concave hull, dearest first; `macs` fall."""
    best = int(np.flatnonzero(right == right.max())[-1])
    hull = [best]
    for place in range(best + 1, len(macs)):
        if macs[place] == macs[hull[-1]]:
            continue
        while len(hull) > 1 and _slope(macs, right, hull[-1], place) <= _slope(macs, right, hull[-2], hull[-1]):
            hull.pop()
        hull.append(place)
    return hull if macs[best] == macs[0] else [0, *hull]


def _slope(macs: NDArray[np.floating], right: NDArray[np.floating], dear: int, cheap: int) -> float:
    return float((right[dear] - right[cheap]) / (macs[dear] - macs[cheap]))
