"""Ways through a graph of stages: the router's choice, and where a limit or the load sends a walk instead."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

import numpy as np

from service.core import CHEAPEST, FULL, NEUTRAL, NEVER, Audit, Deadline, Outcome, Price, Reason, Terms, Walker
from service.package.graph import StageGraph
from service.package.record import Record
from service.routing.base import LEAVE, Routing
from service.scheduler.batch import Batch
from service.scheduler.conductor import Conductor
from service.scheduler.course import Course
from service.scheduler.estimator import StageTimes

MODEL = "fork"
# `trunk` leads to one of three ends, dearer and dearer.
GRAPH = StageGraph(
    names=("trunk", "narrow", "middle", "wide"),
    macs=(1_000_000, 2_000_000, 5_000_000, 9_000_000),
    after=((1, 2, 3), (), (), ()),
    exits=("narrow", "middle", "wide"),
    exit_of=(-1, 0, 1, 2),
    full_macs=10_000_000,
)
SECONDS = (0.001, 0.002, 0.005, 0.009)
INF = float("inf")
# Worth of an end, by how much better it is than a narrower one: 100 a GMAC for the middle, 10 for the wide one.
TURNING = (10.0, 100.0)


def record() -> Record:
    prices = np.array([-INF, 0.0, *TURNING, INF])
    route = np.array([2, 2, 1, 0, 0], np.int16)[:, None].repeat(4, axis=1)
    routes = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]], np.uint8)
    macs = routes[route].astype(np.int64) @ np.array(GRAPH.macs)
    return Record(prices, np.zeros(4, np.int16), np.zeros_like(route), route.astype(np.int8), macs, routes, route)


@dataclass
class Lane:
    """One lane on a virtual clock, with a router that goes by the price alone."""

    conductor: Conductor = field(default_factory=lambda: Conductor({MODEL: Course.of(GRAPH, times(), record())}))
    now: float = 0.0
    ended: list[tuple[Walker, Outcome]] = field(default_factory=list)

    def walk(self, **terms: object) -> tuple[Walker, Outcome]:
        """One walker, alone."""
        walker = self.send(**terms)
        self.drain()
        return walker, next(outcome for one, outcome in self.ended if one is walker)

    def send(self, audit: Audit | None = None, **terms: object) -> Walker:
        known = Terms(NEUTRAL, CHEAPEST, NEVER, GRAPH.full_macs, self.now)
        walker = Walker(MODEL, dataclasses.replace(known, **terms), self.now, {}, lambda *_: None, trace=[])  # type: ignore[arg-type]
        walker.audit, walker.slot = audit, len(self.ended)
        self.conductor.admit(walker, self.now)
        self.conductor.submit(walker, self.now)
        return walker

    def drain(self) -> None:
        while batch := self.conductor.choose(self.now):
            self.now += SECONDS[batch.stage] * len(batch.walkers)
            own = None if batch.own_prices is None else Routing(ends(batch.own_prices))
            self.conductor.settle(batch, route(batch)._replace(own=own), self.now)
            self.ended += [(one.walker, one.outcome) for one in self.conductor.take_ended()]


def times() -> list[StageTimes]:
    return [StageTimes((1,), (seconds,)) for seconds in SECONDS]


def ends(prices: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
    return (3 - np.searchsorted(TURNING, prices, side="right")).astype(np.int16)


def route(batch: Batch) -> Routing:
    rows = len(batch.walkers)
    if batch.stage == 0:
        return Routing(ends(batch.prices), signals={"price": batch.prices})
    # Each end answers a class of its own.
    leave, answer = np.full(rows, LEAVE, np.int16), np.tile(np.eye(3, dtype=np.float32)[batch.stage - 1], (rows, 1))
    return Routing(leave, answer, np.full(rows, 0.5, np.float32), np.full(rows, -INF))


def test_a_free_walk_takes_the_way_of_its_price() -> None:
    for price, stage in [(FULL, "wide"), (NEUTRAL, "wide"), (Price(50.0), "middle"), (CHEAPEST, "narrow")]:
        walker, outcome = Lane().walk(floor=price, ceiling=price)
        assert walker.ledger.stages == ["trunk", stage]
        assert outcome.reason is Reason.LAST


def test_a_compute_limit_takes_the_dearest_way_that_it_allows_and_says_so() -> None:
    for mmacs, stage in [(3, "narrow"), (6, "middle"), (9.9, "middle")]:
        walker, outcome = Lane().walk(floor=FULL, max_macs=round(mmacs * 1e6))
        assert walker.ledger.stages == ["trunk", stage]
        assert walker.ledger.macs <= mmacs * 1e6
        assert outcome.reason is Reason.COMPUTE
        assert outcome.standing is not None


def test_a_limit_that_the_way_keeps_forces_nothing() -> None:
    _, outcome = Lane().walk(floor=Price(50.0), max_macs=6_000_000)
    assert outcome.reason is Reason.LAST


def test_a_deadline_takes_the_dearest_way_that_ends_in_time() -> None:
    # Certified: the market can't raise its price, so only the clock stands between it and the wide end.
    walker, outcome = Lane().walk(floor=NEUTRAL, ceiling=NEUTRAL, deadline=Deadline(0.009))
    assert walker.ledger.stages == ["trunk", "middle"]
    assert outcome.reason is Reason.DEADLINE
    assert outcome.finished_at <= 0.009


def test_a_late_walker_keeps_its_compute_limit() -> None:
    walker, outcome = Lane().walk(floor=NEUTRAL, ceiling=NEUTRAL, deadline=Deadline(0.0001), max_macs=3_000_000)
    assert walker.ledger.stages == ["trunk", "narrow"]
    assert outcome.reason is Reason.COMPUTE


def test_load_turns_walks_to_cheaper_ways_and_says_so() -> None:
    lane = Lane()
    walkers = [lane.send(deadline=Deadline(0.06)) for _ in range(12)]
    lane.drain()
    outcomes = [outcome for _, outcome in lane.ended]
    assert len(outcomes) == len(walkers)
    assert all(outcome.finished_at <= 0.06 for outcome in outcomes)
    for walker, outcome in lane.ended:
        turned = walker.ledger.stages != ["trunk", "wide"]
        assert (outcome.reason is Reason.OVERLOAD) == turned
    assert any(outcome.reason is Reason.OVERLOAD for outcome in outcomes)


def test_a_certified_walk_is_not_turned_by_load() -> None:
    lane = Lane()
    certified = lane.send(floor=NEUTRAL, ceiling=NEUTRAL, deadline=Deadline(1.0))
    for _ in range(12):
        lane.send(deadline=Deadline(0.06))
    lane.drain()
    assert certified.ledger.stages == ["trunk", "wide"]
    assert dict(lane.ended)[certified].reason is Reason.LAST


def test_a_step_tells_what_was_gone_by_and_where_to() -> None:
    walker, _ = Lane().walk(floor=Price(50.0), ceiling=Price(50.0))
    assert walker.trace is not None
    first, last = walker.trace
    assert (first.stage, first.next, first.signals) == ("trunk", "middle", {"price": 50.0})
    assert (last.stage, last.next, last.signals) == ("middle", None, {})


def audited(audit: Audit, **terms: object) -> list[Walker]:
    """The audited walker and its shadows, in the order in which they ended."""
    lane = Lane()
    lane.send(audit, **terms)
    lane.drain()
    return [walker for walker, _ in lane.ended]


def test_a_shadow_repeats_the_walk_at_the_full_price() -> None:
    audit = Audit()
    walker, shadow = audited(audit, floor=Price(50.0))
    assert shadow.shadow
    assert walker.ledger.stages == ["trunk", "middle"]
    assert shadow.ledger.stages == ["trunk", "wide"]
    assert audit.complete
    assert audit.walks == {50.0: 1, FULL: 2}


def test_exactly_one_of_them_owns_the_slot_in_the_end() -> None:
    walkers = audited(Audit(probe=CHEAPEST), floor=Price(50.0))
    assert [walker.slot for walker in walkers] == [-1, -1, 0]


def test_a_probe_walks_once_more() -> None:
    audit = Audit(probe=CHEAPEST)
    *_, probe = audited(audit, floor=Price(50.0))
    assert probe.ledger.stages == ["trunk", "narrow"]
    assert audit.walks == {50.0: 1, FULL: 2, CHEAPEST: 0}


def test_the_full_walk_needs_no_shadow() -> None:
    audit = Audit()
    assert len(audited(audit, floor=FULL)) == 1
    assert audit.complete
    assert audit.walks == {FULL: 2}


def test_a_forced_walk_tells_nothing_of_its_price() -> None:
    audit = Audit()
    audited(audit, floor=NEUTRAL, max_macs=3_000_000)
    assert audit.complete
    assert audit.walks == {FULL: 2}


def test_a_server_that_stops_repeats_nothing() -> None:
    lane, audit = Lane(), Audit()
    lane.conductor.dismiss(0.0)
    lane.send(audit, floor=Price(50.0))
    lane.drain()
    assert len(lane.ended) == 1
    assert not audit.complete
