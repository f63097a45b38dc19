"""Pool-adjacent-violators, and gain maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.calibration.gain_maps import expected_correctness, fit_gain_maps, non_increasing

values = st.lists(st.tuples(st.floats(-1, 1), st.integers(0, 9)), min_size=1, max_size=12)


def test_what_falls_already_stays() -> None:
    assert non_increasing(np.array([3.0, 2.0, 1.0]), np.ones(3)).tolist() == [3, 2, 1]


def test_a_violation_is_pooled_by_weight() -> None:
    assert non_increasing(np.array([1.0, 4.0, 0.0]), np.array([2.0, 1.0, 1.0])).tolist() == [2, 2, 0]


def test_an_empty_bin_moves_nobody() -> None:
    assert non_increasing(np.array([2.0, 9.0, 1.0]), np.array([1.0, 0.0, 1.0])).tolist() == [2, 2, 1]


@given(values)
def test_the_fit_falls_and_keeps_the_mean(pairs: list[tuple[float, int]]) -> None:
    means, weights = (np.array(column, float) for column in zip(*pairs, strict=True))
    fitted = non_increasing(means, weights)
    assert len(fitted) == len(means)
    assert np.all(np.diff(fitted[weights > 0]) <= 1e-12)
    if weights.sum():
        assert np.average(fitted, weights=weights) == pytest.approx(np.average(means, weights=weights), abs=1e-9)


def test_expected_correctness_is_the_last_exits_view() -> None:
    last = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]])
    found = expected_correctness(last, np.array([[1, 0], [2, 2]], np.int16))
    assert found.tolist() == [[0.2, 0.7], [0.8, 0.8]]


def test_gain_is_high_where_the_score_is_low() -> None:
    rng = np.random.default_rng(0)
    score = rng.random(4000).astype(np.float32)
    right = np.stack([rng.random(4000) < score, np.ones(4000, bool)], axis=1)
    maps = fit_gain_maps(np.stack([score, score], axis=1), right.astype(np.float64), bins=4)
    assert maps.edges.shape == (1, 5)
    assert maps.gain.shape == (1, 2, 4)
    assert maps.gain[0, 1] == pytest.approx([0.875, 0.625, 0.375, 0.125], abs=0.05)
    assert not maps.gain[0, 0].any()
