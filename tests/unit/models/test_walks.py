"""Walks replayed from what the exits said must be those that the server's router makes."""

from __future__ import annotations

import numpy as np
import pytest

from models.calibration.gain_maps import GainMaps, fit_gain_maps
from models.calibration.walks import MENU, ExitAnswers, by_price, by_threshold, price_path
from service.core import CHEAPEST, FULL

MACS = np.array([10, 30, 100], np.int64) * 1_000_000


@pytest.fixture
def answers() -> ExitAnswers:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (3, 600, 4)).astype(np.float32)
    labels = rng.integers(4, size=600)
    for place, strength in enumerate((1.0, 2.0, 4.0)):
        logits[place, np.arange(600), labels] += strength
    return ExitAnswers.of(logits, np.ones(3, np.float32), labels)


@pytest.fixture
def maps(answers: ExitAnswers) -> GainMaps:
    return fit_gain_maps(answers.scores, answers.right.astype(float), bins=10)


def test_full_goes_to_the_end_and_cheapest_leaves_at_once(answers: ExitAnswers, maps: GainMaps) -> None:
    walks = by_price(answers, maps, MACS, np.array([FULL, CHEAPEST]))
    assert walks.exits[0].tolist() == [2] * 600
    assert walks.exits[1].tolist() == [0] * 600
    assert walks.macs[:, 0].tolist() == [MACS[2], MACS[0]]
    assert np.array_equal(walks.predictions, answers.predictions[:, [2, 0]].T)


def test_cost_falls_along_the_path(answers: ExitAnswers, maps: GainMaps) -> None:
    prices = price_path(maps, MACS)
    assert prices[0] == FULL
    assert prices[1] == 0
    assert prices[-1] == CHEAPEST
    assert np.all(np.diff(prices) > 0)
    assert len(prices) <= MENU
    walks = by_price(answers, maps, MACS, prices)
    assert np.all(np.diff(walks.macs.mean(axis=1)) <= 0)
    assert walks.macs[-2].max() == MACS[0], "the last finite price already leaves at the first exit"


def test_a_long_path_is_thinned() -> None:
    gain = np.zeros((2, 3, 300), np.float32)
    gain[0, 2] = np.linspace(0.9, 0.001, 300)
    maps = GainMaps(np.tile(np.linspace(0, 1, 301, dtype=np.float32), (2, 1)), gain)
    prices = price_path(maps, MACS)
    assert len(prices) == MENU
    assert np.all(np.diff(prices) > 0)


def test_threshold_above_one_is_the_full_network(answers: ExitAnswers) -> None:
    walks = by_threshold(answers, MACS, np.array([1.01, 0.0]))
    assert walks.exits.mean(axis=1).tolist() == [2, 0]
    assert walks.agreement(answers.predictions[:, -1])[0] == 1
    assert walks.accuracy(answers.labels)[1] == pytest.approx(answers.right[:, 0].mean())
