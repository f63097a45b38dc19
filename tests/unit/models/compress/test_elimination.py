"""Eliminating channels by updates gives what least squares on the remaining ones gives."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from models.compress.elimination import Elimination, block_rows, eliminate
from models.compress.fit import Fit

BLOCK, CHANNELS, MADE = 3, 8, 5


@pytest.fixture
def fitted() -> Fit:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, BLOCK * CHANNELS)) @ rng.normal(size=(BLOCK * CHANNELS,) * 2)
    scatter, matrix = x.T @ x / 400, rng.normal(size=(BLOCK * CHANNELS, MADE))
    return Fit(matrix, scatter, np.zeros(BLOCK * CHANNELS), np.zeros(MADE), 1.0)


def least_squares(fitted: Fit, kept: np.ndarray) -> np.ndarray:
    rows = block_rows(kept, BLOCK)
    return np.linalg.solve(fitted.scatter[np.ix_(rows, rows)], fitted.scatter[rows] @ fitted.matrix)


def error(fitted: Fit, kept: np.ndarray) -> float:
    rest = fitted.matrix.copy()
    rest[block_rows(kept, BLOCK)] -= least_squares(fitted, kept)
    return float(np.trace(rest.T @ fitted.scatter @ rest))


def test_the_rest_makes_up_for_what_is_gone(fitted: Fit) -> None:
    layer = Elimination(fitted, BLOCK)
    kept = eliminate([layer], CHANNELS, 5)
    assert len(kept) == 3
    assert np.allclose(layer.matrix(kept), least_squares(fitted, kept))


def test_a_loss_is_the_rise_of_the_error(fitted: Fit) -> None:
    losses = Elimination(fitted, BLOCK).losses()
    without = [error(fitted, np.delete(np.arange(CHANNELS), channel)) for channel in range(CHANNELS)]
    assert np.allclose(losses, without, rtol=0.01)


def test_layers_that_share_channels_lose_the_same(fitted: Fit) -> None:
    unread = replace(fitted, matrix=np.where(np.arange(BLOCK * CHANNELS)[:, None] < 2 * BLOCK, 0.0, fitted.matrix))
    layers = [Elimination(unread, BLOCK), Elimination(unread, BLOCK)]
    assert eliminate(layers, CHANNELS, 2).tolist() == [2, 3, 4, 5, 6, 7]
