"""Replayed walks, the knobs that suit a price, and intervals over scenes."""

from __future__ import annotations

import numpy as np
import pytest

from models.calibration.clip_walks import StopRule, knobs_by_log_law, knobs_by_price, stopped
from models.calibration.grouped import bootstrap
from models.calibration.stops import stop_tables
from service.core import CHEAPEST, FULL


def told(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:  # type: ignore[type-arg]
    """Logits [4, n, 3] that grow sharper from exit to exit, and labels."""
    labels = rng.integers(0, 3, n)
    sharp = np.eye(3)[labels][None] * np.array([0.5, 1.0, 2.0, 4.0])[:, None, None]
    return (sharp + rng.normal(0, 0.6, (4, n, 3))).astype(np.float32), labels


def test_full_walks_go_to_the_end_and_cheapest_ones_leave_at_once() -> None:
    logits, labels = told(np.random.default_rng(0), 300)
    tables = stop_tables(logits, labels, np.array([1, 2, 3, 4]) * 10**8)
    rule, every = StopRule.of(tables), np.ones((4, 300), bool)
    ends = [stopped(rule, tables["temperature"], logits, every, labels, price)[1] for price in (FULL, 0.5, CHEAPEST)]
    assert set(ends[0].tolist()) == {3}
    assert set(ends[2].tolist()) == {0}
    assert 0 < ends[1].mean() < 3


def test_an_exit_that_a_walk_does_not_come_by_is_not_taken() -> None:
    logits, labels = told(np.random.default_rng(1), 50)
    tables = stop_tables(logits, labels, np.array([1, 2, 3, 4]) * 10**8)
    came = np.ones((4, 50), bool)
    came[0] = False
    _, ends = stopped(StopRule.of(tables), tables["temperature"], logits, came, labels, CHEAPEST)
    assert set(ends.tolist()) == {1}


def test_a_dearer_price_thins_out_more() -> None:
    value = {0.0: (0.9, 4.0), 0.5: (0.89, 2.0), 0.9: (0.7, 1.0)}
    prices, knobs = knobs_by_price([0.0, 0.1, 1.0], [0.0, 0.5, 0.9], lambda _, knob: value[knob])
    assert prices.tolist() == [FULL, 0.1, 1.0]
    assert knobs == pytest.approx([0.0, 0.5, 0.9])


def test_the_log_law_gives_every_step_a_rising_price() -> None:
    gmacs, right = np.array([4.0, 2.0, 1.0, 0.5]), np.array([0.93, 0.94, 0.90, 0.88])
    prices, knobs = knobs_by_log_law([1.01, 0.5, 0.2, 0.0], gmacs, right)
    assert prices[0] == FULL
    assert np.all(np.diff(prices) > 0)
    assert knobs.tolist() == pytest.approx([1.01, 0.5, 0.2, 0.0])


def test_clips_of_one_scene_make_a_wider_interval() -> None:
    right = np.repeat(np.random.default_rng(2).random(40) < 0.8, 10).astype(float)
    alone, together = (bootstrap(right, groups) for groups in (np.arange(400), np.arange(400) // 10))
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert together.low < right.mean() < together.high
