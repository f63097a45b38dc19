"""The nouns' few rules."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core import (
    ASK_NOTHING,
    CHEAPEST,
    FULL,
    NEUTRAL,
    NEVER,
    Budget,
    Deadline,
    Ledger,
    OnMiss,
    Price,
    Reason,
    Terms,
    Walker,
)


def terms(floor: float, ceiling: float = CHEAPEST) -> Terms:
    return Terms(Price(floor), Price(ceiling), NEVER, 100, 0.0)


@pytest.mark.parametrize(
    ("floor", "ceiling", "market", "price"),
    [
        (FULL, CHEAPEST, 0.0, FULL),
        (FULL, CHEAPEST, 0.1, 0.1),
        (NEUTRAL, CHEAPEST, 0.0, NEUTRAL),
        (NEUTRAL, CHEAPEST, 5.0, 5.0),
        (3.0, CHEAPEST, 0.0, 3.0),
        (3.0, CHEAPEST, 2.0, 3.0),
        (3.0, CHEAPEST, 5.0, 5.0),
        (3.0, 4.0, 5.0, 4.0),
        (3.0, 3.0, 5.0, 3.0),
        (FULL, FULL, 5.0, FULL),
        (3.0, CHEAPEST, CHEAPEST, CHEAPEST),
    ],
)
def test_the_market_moves_the_price_within_the_terms(floor: float, ceiling: float, market: float, price: float) -> None:
    assert terms(floor, ceiling).price(Price(market)) == price


PRICES = st.floats(0.0, math.inf) | st.just(FULL)


@given(ends=st.tuples(PRICES, PRICES).map(sorted), market=st.tuples(*[st.floats(0.0, math.inf)] * 2).map(sorted))
def test_a_price_stays_in_its_interval_and_rises_with_the_market(ends: list[float], market: list[float]) -> None:
    low, high = (terms(*ends).price(Price(at)) for at in market)
    assert ends[0] <= low <= high <= ends[1]


def test_a_deadline_counts_down() -> None:
    deadline = Deadline(10.0)
    assert (deadline.left(8.0), deadline.left(11.0)) == (2.0, -1.0)
    assert deadline.allows(8.0, 2.0)
    assert not deadline.allows(8.0, 2.001)
    assert NEVER.allows(1e12, 1e12)


def test_only_the_routers_own_exits_are_not_forced() -> None:
    assert [reason for reason in Reason if not reason.forced] == [Reason.CONFIDENT, Reason.LAST]


def test_a_budget_tells_what_was_asked() -> None:
    assert ASK_NOTHING.asked == {}
    assert ASK_NOTHING.quality == {}
    budget = Budget(latency_ms=20.0, agreement=0.0, max_drop=0.01, priority=0, on_miss=OnMiss.FAIL)
    asked = {"latency_ms": 20.0, "agreement": 0.0, "max_drop": 0.01, "priority": 0, "on_miss": "fail"}
    assert budget.asked == asked
    assert budget.quality == {"agreement": 0.0, "max_drop": 0.01}


def test_a_ledger_adds_up() -> None:
    ledger = Ledger()
    ledger.charge("stem", macs=10, device_s=0.5)
    ledger.charge("block", macs=30, device_s=0.25)
    assert (ledger.stages, ledger.rows, ledger.macs, ledger.device_s) == (["stem", "block"], 2, 40, 0.75)


def test_walkers_share_nothing() -> None:
    first, second = (Walker("m", terms(FULL), 0.0, {}, lambda *_: None) for _ in range(2))
    first.ledger.charge("stem", macs=10, device_s=0.5)
    assert second.ledger == Ledger()
    assert first != second


def test_the_late_queue_behind_all_that_is_in_time() -> None:
    walker = Walker("m", terms(FULL), 0.0, {}, lambda *_: None)
    before = walker.urgency_at
    walker.late = True
    assert walker.urgency_at > before + 60.0
    assert math.isfinite(walker.urgency_at)
