"""The bettor against a promise: fair odds while it holds, quick to win once it doesn't."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.monitor.martingale import Wealth

ALPHA = 0.01


def alarms(wealth: Wealth, losses: NDArray[np.bool_]) -> NDArray[np.int64]:
    """After how many walks each column first crossed, int64 [P]; one more than there are where it never did."""
    first = np.full(losses.shape[1], len(losses) + 1)
    for walk, row in enumerate(losses):
        before = wealth.crossed.copy()
        wealth.observe(row)
        first[wealth.crossed & ~before] = walk + 1
    return first


def drawn(risk: float, walks: int, streams: int, seed: int) -> NDArray[np.bool_]:
    return np.asarray(np.random.default_rng(seed).random((walks, streams)) < risk)


def promised(epsilon: float, streams: int) -> Wealth:
    return Wealth(np.full(streams, epsilon), ALPHA)


def likelihood_bettor(risk: float, epsilon: float) -> float:
    """Walks that even somebody who knew the new risk would need on average (Wald): log(1/alpha) / KL."""
    gained = risk * math.log(risk / epsilon) + (1 - risk) * math.log((1 - risk) / (1 - epsilon))
    return math.log(1 / ALPHA) / gained


@pytest.mark.parametrize("epsilon", [0.01, 0.05])
def test_a_risk_of_exactly_epsilon_is_hardly_ever_an_alarm(epsilon: float) -> None:
    streams, walks = 800, 10_000
    false = (alarms(promised(epsilon, streams), drawn(epsilon, walks, streams, seed=1)) <= walks).mean()
    assert false <= ALPHA + 3 * math.sqrt(ALPHA * (1 - ALPHA) / streams)


def test_a_stream_that_stays_at_epsilon_on_average_only_by_its_past_is_fair_too() -> None:
    """Risks may swing with what came before, as long as each stays at epsilon or below."""
    rng, streams, walks = np.random.default_rng(2), 800, 5_000
    wealth, risk = promised(0.02, streams), np.full(streams, 0.02)
    for _ in range(walks):
        lost = rng.random(streams) < risk
        wealth.observe(lost)
        risk = np.where(lost, 0.02, np.where(rng.random(streams) < 0.5, 0.0, 0.02))
    assert wealth.crossed.mean() <= ALPHA + 3 * math.sqrt(ALPHA / streams)


@pytest.mark.parametrize("quiet", [0, 1_000, 10_000])
@pytest.mark.parametrize("risk", [0.05, 0.15])
def test_a_shift_is_seen_soon_even_after_a_long_good_time(quiet: int, risk: float) -> None:
    streams = 100
    wealth = promised(0.01, streams)
    for row in drawn(0.005, quiet, streams, seed=3):
        wealth.observe(row)
    assert wealth.crossed.sum() <= 4
    delays = alarms(wealth, drawn(risk, 2_000, streams, seed=4))
    # The good past costs the log of its length once more, not its length.
    allowed = (1.5 if quiet == 0 else 1.5 + math.log(quiet) / math.log(1 / ALPHA) * 2) * likelihood_bettor(risk, 0.01)
    assert np.median(delays) <= allowed + 10


@settings(max_examples=100)
@given(
    epsilon=st.floats(1e-4, 1.0),
    losses=st.lists(st.booleans(), max_size=200),
)
def test_wealth_is_never_negative_and_bets_stay_in_their_bounds(epsilon: float, losses: list[bool]) -> None:
    wealth = promised(epsilon, 1)
    assert wealth.total[0] == 1.0
    for lost in losses:
        before, bet = wealth.total[0], wealth.bets[0]
        assert 0 <= bet <= 0.5 / epsilon + 1e-9
        wealth.observe(np.array([lost]))
        assert wealth.total[0] >= 0
        assert math.isfinite(wealth.total[0])
        by_formula = before * (1 + bet * (lost - epsilon))
        if by_formula < 1e12:  # the cap; above it wealth may only be less
            assert wealth.total[0] == pytest.approx(by_formula, rel=1e-9)
        else:
            assert wealth.total[0] <= by_formula * (1 + 1e-9)


def test_a_crossing_is_not_forgotten() -> None:
    wealth = promised(0.01, 1)
    while not wealth.crossed[0]:
        wealth.observe(np.array([True]))
    for _ in range(1_000):
        wealth.observe(np.array([False]))
    assert wealth.total[0] < 1 / ALPHA
    assert wealth.crossed[0]


def test_endless_losses_overflow_nothing() -> None:
    wealth = promised(1e-4, 2)
    for _ in range(5_000):
        wealth.observe(np.array([True, False]))
    assert wealth.crossed.tolist() == [True, False]
    assert np.isfinite(wealth.total).all()
