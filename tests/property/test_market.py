"""Invariants of the market: what must hold of the price for any walkers waiting."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from service.core import CHEAPEST, FULL, NEUTRAL, Deadline, Price, Standing, Terms, Walker
from service.package.load import load
from service.scheduler.course import Course
from service.scheduler.estimator import StageTimes
from service.scheduler.market import MENU, Market

MODEL = "colours"
NOW = 100.0
SECONDS = (0.001, 0.002, 0.005)
WHOLE = sum(SECONDS)


@pytest.fixture(scope="module")
def course(colours: Path) -> Course:
    package = load(colours)
    times = [StageTimes((1, 2), (seconds, 2 * seconds)) for seconds in SECONDS]
    return Course.of(package.graph, times, package.record)


def market_of(course: Course, walkers: Sequence[Walker], *, lanes: int = 1) -> Market:
    market = Market({MODEL: course.trade}, lanes=lanes)
    for walker in walkers:
        market.add(walker)
    return market


def price_of(course: Course, walkers: Sequence[Walker], *, now: float = NOW, lanes: int = 1) -> float:
    market = market_of(course, walkers, lanes=lanes)
    market.clear(now, 0.0)
    return float(market.price)


def walker(
    patience: float, *, stage: int = 0, floor: float = 0.0, ceiling: float = CHEAPEST, priority: int = 3
) -> Walker:
    deadline = NOW + patience
    terms = Terms(Price(floor), Price(ceiling), Deadline(deadline), 8_000_000, deadline, priority)
    made = Walker(MODEL, terms, NOW, {}, lambda *_: None, stage=stage)
    if stage:
        made.standing, made.worth = Standing("early", np.ones(3, np.float32) / 3, 0.5), Price(3.0)
    return made


patiences = st.floats(0.02, 1.0)
walkers = st.builds(
    walker,
    patiences,
    stage=st.integers(0, 2),
    floor=st.sampled_from([FULL, NEUTRAL, 0.5, 20.0]),
    priority=st.integers(0, 7),
)
crowds = st.lists(walkers, max_size=40)


@given(crowds, st.floats(-1, 1))
def test_price_is_never_negative(course: Course, crowd: list[Walker], later: float) -> None:
    assert price_of(course, crowd, now=NOW + later) >= 0


def test_nobody_waiting_costs_nothing(course: Course) -> None:
    assert price_of(course, []) == 0


def test_ample_time_costs_nothing(course: Course) -> None:
    assert price_of(course, [walker(100 * WHOLE) for _ in range(20)]) == 0


def test_price_rises_when_the_full_walks_no_longer_fit(course: Course) -> None:
    crowd = [walker(50 * WHOLE) for _ in range(30)]
    assert 0 < price_of(course, crowd) < CHEAPEST


@given(st.lists(patiences, max_size=60), patiences)
def test_price_never_falls_with_load(course: Course, crowd: list[float], newcomer: float) -> None:
    def waiting(patience: Sequence[float]) -> list[Walker]:
        return [walker(one) for one in patience]

    before = market_of(course, waiting(crowd))
    late = before.lateness(walker(newcomer), NOW, 0.0)
    if late <= 0:
        # Somebody whom the newcomer makes hopeless no longer counts, so only loads that fit can be compared.
        assert price_of(course, waiting([*crowd, newcomer])) >= price_of(course, waiting(crowd))


@given(crowds)
def test_price_is_the_lowest_that_serves_everybody_in_time(course: Course, crowd: list[Walker]) -> None:
    market = market_of(course, crowd)
    market.clear(NOW, 0.0)
    place = int(np.searchsorted(MENU, market.price))
    wants = market._wants(NOW, 0.0)
    wants.forgive()
    assert wants.fit(place)
    assert place == 0 or not wants.fit(place - 1)


@given(crowds, crowds)
def test_price_depends_on_nothing_but_who_waits_now(course: Course, before: list[Walker], crowd: list[Walker]) -> None:
    market = market_of(course, before)
    market.clear(NOW, 0.0)
    for one in before:
        market.remove(one)
    for one in crowd:
        market.add(one)
    market.clear(NOW, 0.0)
    # Of those who are as urgent the first is served first; among all others the order of coming doesn't matter.
    turned = sorted(crowd, key=lambda one: -one.urgency_at)
    again = price_of(course, [walker_like(one) for one in turned])
    assert float(market.price) == pytest.approx(again)


def walker_like(one: Walker) -> Walker:
    terms = one.terms
    return Walker(MODEL, terms, NOW, {}, lambda *_: None, stage=one.stage, standing=one.standing, worth=one.worth)


@given(crowds, st.sampled_from([FULL, NEUTRAL, 0.5, 20.0]))
def test_certified_walkers_pay_their_own_price_whatever_the_load(
    course: Course, crowd: list[Walker], certified: float
) -> None:
    one = walker(0.05, floor=certified, ceiling=certified)
    market = market_of(course, [*crowd, one])
    market.clear(NOW, 0.0)
    assert market.price_for(one) == certified


@given(crowds)
def test_nobody_pays_less_than_its_floor(course: Course, crowd: list[Walker]) -> None:
    market = market_of(course, crowd)
    market.clear(NOW, 0.0)
    assert all(market.price_for(one) >= one.terms.floor for one in crowd)


@given(crowds)
def test_the_urgent_pay_no_more_than_the_others(course: Course, crowd: list[Walker]) -> None:
    market = market_of(course, crowd)
    market.clear(NOW, 0.0)
    prices = [market.price_for(walker(0.1, priority=priority)) for priority in range(8)]
    assert prices == sorted(prices)


@given(crowds, st.integers(2, 4))
def test_more_lanes_never_cost_more(course: Course, crowd: list[Walker], lanes: int) -> None:
    # More lanes may bring a deadline back within reach, which then counts again.
    assume(all(market_of(course, crowd[:place]).lateness(one, NOW, 0.0) <= 0 for place, one in enumerate(crowd)))
    slow = price_of(course, [walker_like(one) for one in crowd])
    assert price_of(course, [walker_like(one) for one in crowd], lanes=lanes) <= slow


def test_a_hopeless_deadline_makes_nobody_cheap(course: Course) -> None:
    assert price_of(course, [walker(-0.01), *(walker(100 * WHOLE) for _ in range(5))]) == 0


def test_room_is_refused_when_even_the_cheapest_walks_do_not_fit(course: Course) -> None:
    patience = 20.5 * SECONDS[0]
    market = market_of(course, [walker(patience) for _ in range(19)])
    assert market.lateness(walker(patience), NOW, 0.0) <= 0
    market.add(walker(patience))
    assert market.lateness(walker(patience), NOW, 0.0) == pytest.approx(0.5 * SECONDS[0])


def test_room_is_refused_to_whoever_would_make_another_late(course: Course) -> None:
    # Each runs the whole network and has room for one other before it.
    market = market_of(course, [walker(2.5 * WHOLE, floor=FULL, ceiling=FULL)])
    second, third = (walker(patience * WHOLE, floor=FULL, ceiling=FULL) for patience in (2.4, 2.3))
    assert market.lateness(second, NOW, 0.0) <= 0
    market.add(second)
    # It would go first; the first to come then ends after 3, half a walk late.
    assert market.lateness(third, NOW, 0.0) == pytest.approx(0.5 * WHOLE)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 10_000)), max_size=120))
def test_the_book_keeps_everybody_through_any_coming_and_going(course: Course, moves: list[tuple[bool, int]]) -> None:
    market, present = market_of(course, []), []
    for arrives, which in moves:
        if arrives or not present:
            one = walker(0.02 + which / 1e4)
            market.add(one)
            present.append(one)
        else:
            market.remove(present.pop(which % len(present)))
    book = market._book
    assert sorted(book.times[1].tolist()) == sorted(one.terms.deadline.at for one in present)
    assert all(book.times[1, one.row] == one.terms.deadline.at for one in present)
