"""Temperatures."""

from __future__ import annotations

import numpy as np
import pytest

from models.calibration.temperature import fit_temperature, log_softmax, negative_log_likelihood


@pytest.mark.parametrize("truth", [0.4, 1.0, 3.0])
def test_the_temperature_that_made_the_labels_is_found(truth: float) -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 2, (20_000, 5))
    gumbel = rng.gumbel(size=logits.shape)
    labels = (logits / truth + gumbel).argmax(axis=1)
    assert fit_temperature(logits, labels) == pytest.approx(truth, rel=0.05)


def test_an_always_right_exit_gets_the_lowest_temperature() -> None:
    assert fit_temperature(np.eye(4), np.arange(4)) == pytest.approx(0.05, rel=0.01)


def test_likelihood_of_even_logits() -> None:
    assert negative_log_likelihood(np.zeros((3, 10)), np.array([0, 5, 9])) == pytest.approx(np.log(10))


def test_log_softmax_of_huge_logits_is_finite() -> None:
    assert np.isfinite(log_softmax(np.array([[1e4, -1e4]], np.float32))).all()
