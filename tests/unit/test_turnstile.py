"""Who is inside, how fast they come out, and who can't be out in time."""

from __future__ import annotations

import pytest

from service.turnstile import Pass, Turnstile

PATIENCE_S = 0.05
PACE_S = 0.002
ALLOWED_S = 0.45 * PATIENCE_S


def crowd_of(turnstile: Turnstile, count: int, *, now: float = 0.0, model: str = "m") -> list[Pass]:
    """That many inside, all with the usual patience; they came a moment before `now`."""
    return [turnstile.enter(model, now + PATIENCE_S - 1e-9) for _ in range(count)]


def busy(count: int = 200, pace_s: float = PACE_S, model: str = "m") -> tuple[Turnstile, float]:
    """A turnstile that has seen a steady crowd go, and the time."""
    turnstile, now = Turnstile(), 0.0
    for one in crowd_of(turnstile, count, model=model):
        now += pace_s
        turnstile.leave(one)
        turnstile.answered(model, 0.0, now)
    return turnstile, now


def test_whoever_comes_to_an_empty_place_is_let_in() -> None:
    assert Turnstile().lateness(1.0, 0.0, 1e-9, 0.0) <= 0


def test_counts_in_and_out() -> None:
    turnstile = Turnstile()
    inside = crowd_of(turnstile, 3) + crowd_of(turnstile, 2, model="other")
    assert len(turnstile) == 5
    for one in inside:
        turnstile.leave(one)
    assert len(turnstile) == 0


def test_a_crowd_that_takes_too_long_turns_newcomers_away() -> None:
    turnstile, now = busy()
    crowd_of(turnstile, 100, now=now)
    late = turnstile.lateness(now + PATIENCE_S, now, PATIENCE_S, now)
    assert late == pytest.approx(100 * PACE_S - ALLOWED_S)
    assert turnstile.lateness(now + 1.0, now, 1.0, now) <= 0


def test_the_more_urgent_pass_the_crowd() -> None:
    turnstile, now = busy()
    crowd_of(turnstile, 100, now=now)
    assert turnstile.lateness(now + PATIENCE_S / 2, now, PATIENCE_S, now) <= 0


def test_the_late_are_in_nobodys_way() -> None:
    turnstile, now = busy()
    crowd_of(turnstile, 100, now=now)
    later = now + PATIENCE_S + 0.001
    assert turnstile.lateness(later + PATIENCE_S, later, PATIENCE_S, later) <= 0


def test_a_few_are_always_let_in_whatever_the_pace() -> None:
    turnstile, now = busy(pace_s=10.0)
    crowd_of(turnstile, 4, now=now)
    assert turnstile.lateness(now + PATIENCE_S, now, PATIENCE_S, now) <= 0
    crowd_of(turnstile, 1, now=now)
    assert turnstile.lateness(now + PATIENCE_S, now, PATIENCE_S, now) > 0


def test_requests_that_come_one_by_one_tell_no_pace() -> None:
    turnstile = Turnstile()
    for turn in range(1, 100):
        turnstile.answered("m", float(turn), turn + 0.5)
    crowd_of(turnstile, 50, now=100.0)
    assert turnstile.lateness(100.0 + PATIENCE_S, 100.0, PATIENCE_S, 100.0) <= 0


def test_each_model_has_its_own_pace() -> None:
    turnstile, now = busy(pace_s=1.0, model="slow")
    for one in crowd_of(turnstile, 200, now=now, model="fast"):
        now += PACE_S
        turnstile.leave(one)
        turnstile.answered("fast", 0.0, now)
    crowd_of(turnstile, 8, now=now, model="fast")
    assert turnstile.lateness(now + PATIENCE_S, now, PATIENCE_S, now) <= 0
    crowd_of(turnstile, 1, now=now, model="slow")
    assert turnstile.lateness(now + PATIENCE_S, now, PATIENCE_S, now) > 0


def test_the_reserve_is_rarely_exceeded() -> None:
    turnstile = Turnstile()
    assert turnstile.reserve_s == 0.0
    for turn in range(2000):
        turnstile.told(0.001 + 0.002 * (turn % 2))
    assert 0.003 <= turnstile.reserve_s <= 0.006


def test_time_that_was_lost_in_the_socket_counts() -> None:
    turnstile, now = busy()
    assert turnstile.lateness(now + PATIENCE_S, now - PATIENCE_S * 0.3, PATIENCE_S, now) <= 0
    assert turnstile.lateness(now + PATIENCE_S, now - PATIENCE_S * 0.5, PATIENCE_S, now) > 0


def test_refusals_are_no_progress() -> None:
    turnstile, now = busy()
    for one in crowd_of(turnstile, 1000, now=now):
        turnstile.leave(one)
    crowd_of(turnstile, 100, now=now)
    assert turnstile.lateness(now + PATIENCE_S, now, PATIENCE_S, now) == pytest.approx(100 * PACE_S - ALLOWED_S)


def test_before_the_first_crowd_the_expected_pace_counts() -> None:
    turnstile = Turnstile()
    turnstile.expect("m", PACE_S)
    crowd_of(turnstile, 100)
    assert turnstile.lateness(PATIENCE_S, 0.0, PATIENCE_S, 0.0) == pytest.approx(100 * PACE_S - ALLOWED_S)


def test_what_the_market_can_take_away_does_not_slow_the_pace() -> None:
    plain, spared = Turnstile(), Turnstile()
    for number in range(200):
        now = number * PACE_S
        plain.answered("m", 0.0, now)
        spared.answered("m", 0.0, now, PACE_S * 0.75)
    for turnstile in (plain, spared):
        for _ in range(20):
            turnstile.enter("m", 1000.0)
    now = 199 * PACE_S
    waits = [one.lateness(2000.0, now, PATIENCE_S, now) + ALLOWED_S for one in (plain, spared)]
    assert waits[1] == pytest.approx(waits[0] * 0.25, rel=0.05)


def test_nobody_stands_in_his_own_way() -> None:
    turnstile, now = busy()
    crowd_of(turnstile, 10, now=now)
    allowed = turnstile.lateness(now + PATIENCE_S, now, PATIENCE_S, now)
    turnstile.enter("m", now + PATIENCE_S)
    assert turnstile.lateness(now + PATIENCE_S, now, PATIENCE_S, now) == allowed
