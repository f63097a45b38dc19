"""Two classifiers on the same samples, and Platt scaling."""

from __future__ import annotations

import numpy as np
import pytest

from models.calibration.paired import Paired
from models.calibration.platt import SMALLEST, fit_platt


def test_the_difference_and_its_interval_by_hand() -> None:
    first = np.array([True] * 80 + [False] * 20)
    second = np.array([True] * 70 + [False] * 25 + [True] * 5)
    found = Paired.of(first, second)
    assert (found.gained, found.lost, found.n) == (10, 5, 100)
    assert found.difference == pytest.approx(0.05)
    low, high = found.interval
    assert low == pytest.approx(0.05 - 1.96 * np.sqrt(15 - 0.25) / 100, abs=1e-4)
    assert high == pytest.approx(0.1 - low)
    # Of 15 that differ, 5 or fewer on one side: 2 x 4944 / 32768.
    assert found.p_value == pytest.approx(2 * 4944 / 32768)


def test_equals_do_not_differ() -> None:
    same = np.array([True, False])
    assert Paired.of(same, same).difference == 0
    assert Paired.of(same, same).p_value == 1


def test_platt_scaling_finds_the_scale_and_shift_that_data_was_drawn_with() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, 50_000)
    right = rng.random(50_000) < 1 / (1 + np.exp(-(0.5 * logits + 1)))
    assert fit_platt(logits, right) == pytest.approx((0.5, 1.0), abs=0.03)


def test_a_scale_is_never_below_0() -> None:
    logits = np.linspace(-1, 1, 100)
    assert fit_platt(logits, logits < 0)[0] == SMALLEST
