"""Calibration error and ranking."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.calibration.scores import auroc, expected_calibration_error, worth_going_on


def test_calibration_error_of_one_bin() -> None:
    scores = np.full(10, 0.9)
    assert expected_calibration_error(scores, np.arange(10) < 6) == pytest.approx(0.3)


def test_a_calibrated_score_has_little_error() -> None:
    rng = np.random.default_rng(0)
    scores = rng.random(100_000)
    assert expected_calibration_error(scores, rng.random(100_000) < scores) < 0.01


def test_auroc_counts_ties_half() -> None:
    assert auroc(np.array([0.1, 0.5, 0.5, 0.9]), np.array([False, False, True, True])) == pytest.approx(0.875)


def test_auroc_without_positives_is_unknown() -> None:
    assert math.isnan(auroc(np.array([0.1, 0.2]), np.zeros(2, bool)))


def test_worth_going_on_is_wrong_here_and_right_later() -> None:
    right = np.array([[0, 1, 0], [1, 1, 1], [0, 0, 0], [1, 0, 1]], bool)
    assert worth_going_on(right, 0).tolist() == [True, False, False, False]
    assert worth_going_on(right, 1).tolist() == [False, False, False, True]
