"""Tables and prices of refining routers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from models.calibration.refining import MENU, Refined, fit_gain, prices_for
from service.core import CHEAPEST, FULL
from service.package.graph import StageGraph


def test_the_gain_rises_with_the_doubt() -> None:
    rng = np.random.default_rng(0)
    doubt = rng.random(4000)
    edges, gain = fit_gain(doubt, 0.01 * doubt**2 + rng.normal(0, 0.001, 4000), 10)
    assert np.all(np.diff(edges) > 0)
    assert np.all(np.diff(gain) >= 0)
    assert abs(gain[-1] - 0.009) < 0.001


@given(st.integers(0, 2**32 - 1))
def test_a_table_of_noise_is_still_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges, gain = fit_gain(rng.random(40), rng.normal(0, 1, 40), 8)
    assert (edges.shape, gain.shape) == ((9,), (8,))
    assert np.all(np.diff(gain) >= 0)
    assert np.all(gain >= 0)


def test_prices_rise_from_full_to_cheapest() -> None:
    prices = prices_for(np.linspace(0, 0.01, 40), 10_000_000)
    assert len(prices) <= MENU
    assert (prices[0], prices[1], prices[-1]) == (FULL, 0.0, CHEAPEST)
    assert np.all(np.diff(prices) > 0)
    assert prices_for(np.zeros(4), 10).tolist() == [FULL, 0.0, CHEAPEST]


def test_a_record_tells_routes_and_macs() -> None:
    graph = StageGraph(("a", "b", "c"), (10, 2, 5), ((1,), (2,), ()), ("x", "y"), (0, -1, 1), 25, rows=(1, 5, 1))
    counts = np.array([[5, 5], [0, 3], [0, 0]])
    shares = np.ones((3, 2), np.float32)
    made = Refined(counts, shares, shares, []).record(np.array([FULL, 1.0, CHEAPEST]), graph)
    assert made["macs"].tolist() == [[25, 25], [10, 21], [10, 10]]
    assert made["exits"].tolist() == [[1, 1], [0, 1], [0, 0]]
    assert made["routes"][made["route"][1, 1]].tolist() == [1, 3, 1]
