"""Recycling of earlier heads."""

from __future__ import annotations

import numpy as np

from models.calibration.blend import blended, fit_blend


def test_each_answer_holds_the_ones_before() -> None:
    own = [np.full((1, 2), value, np.float32) for value in (1.0, 10.0, 100.0)]
    assert [float(answer[0, 0]) for answer in blended(own, [0.0, 0.5, 2.0])] == [1.0, 10.5, 121.0]


def test_independent_heads_are_worth_joining_and_noise_is_not() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(5, size=3000)
    signal = np.eye(5, dtype=np.float32)[labels] * 2
    first, second = (signal + rng.normal(0, 1, signal.shape).astype(np.float32) for _ in range(2))
    noise = rng.normal(0, 1, signal.shape).astype(np.float32)
    assert fit_blend([first, second], labels)[1] > 0.5
    assert fit_blend([noise, second], labels)[1] == 0
