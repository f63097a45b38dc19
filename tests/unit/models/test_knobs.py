"""Prices of knob settings: the concave hull of correctness over compute."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calibration.knobs import price_knobs

INF = float("inf")


def test_by_hand() -> None:
    macs, right = np.array([100e6, 80e6, 60e6, 50e6, 20e6]), np.array([0.9, 0.9, 0.895, 0.8, 0.6])
    prices, knobs = price_knobs([0.0, 0.2, 0.4, 0.6, 0.8], macs, right)
    # The fourth lies below the line from the third to the fifth: nobody should ever take it.
    assert knobs.tolist() == np.array([0.0, 0.2, 0.4, 0.8], np.float32).tolist()
    assert prices.tolist() == pytest.approx([-INF, 0.0, 0.005 / 0.02, 0.295 / 0.04])


def test_a_full_walk_that_is_beaten_by_a_cheaper_one_is_kept_below_0() -> None:
    prices, knobs = price_knobs([1.0, 2.0, 3.0], np.array([3e6, 2e6, 1e6]), np.array([0.8, 0.9, 0.5]))
    assert knobs.tolist() == [1.0, 2.0, 3.0]
    assert prices.tolist() == pytest.approx([-INF, 0.0, 400.0])


def test_one_setting_is_full_and_cheapest() -> None:
    prices, knobs = price_knobs([0.5], np.array([1e6]), np.array([0.9]))
    assert (prices.tolist(), knobs.tolist()) == ([-INF], [0.5])


@given(st.lists(st.tuples(st.integers(1, 200), st.integers(0, 100)), min_size=1, max_size=20))
def test_tables_rise_from_full_to_the_cheapest_and_no_price_has_a_better_setting(points: list[tuple[int, int]]) -> None:
    macs, right = np.array([p[0] for p in points]) * 1e6, np.array([p[1] for p in points]) / 100
    places = np.arange(len(points), dtype=np.float64)
    prices, knobs = price_knobs(places.tolist(), macs, right)
    assert prices[0] == -INF
    assert (np.diff(prices) > 0).all()
    assert macs[int(knobs[0])] == macs.max()
    assert macs[int(knobs[-1])] == macs.min()
    for place, price in enumerate(prices[1:], 1):
        # In the middle of its range a setting has the most correctness less what its compute costs.
        middle = (price + prices[place + 1]) / 2 if place + 1 < len(prices) else price + 1.0
        value = right - middle * macs / 1e9
        assert value[int(knobs[place])] >= value.max() - 1e-9
