"""Invariants of the conductor: whatever comes and goes, everybody ends once, within its limits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core import CHEAPEST, FULL, NEUTRAL, Deadline, OnMiss, Outcome, Price, Reason, Terms, Walker
from service.errors import Cancelled, DeadlinePassed, OfframpError, Overloaded
from service.package.load import load
from service.routing.base import LEAVE, Routing
from service.scheduler.batch import Batch
from service.scheduler.conductor import Conductor
from service.scheduler.course import Course
from service.scheduler.estimator import StageTimes

MODEL = "colours"
SECONDS = (0.001, 0.002, 0.005)
MACS = (1_000_000, 2_000_000, 5_000_000)


@pytest.fixture(scope="module")
def package_path(colours: Path) -> Path:
    return colours


@dataclass
class World:
    """One lane on a virtual clock; going on from an exit is worth what `worths` says, walker by walker."""

    conductor: Conductor
    now: float = 0.0
    ended: dict[int, Outcome] = field(default_factory=dict)
    numbers: dict[Walker, int] = field(default_factory=dict)
    worths: dict[Walker, float] = field(default_factory=dict)
    refused: list[OfframpError] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)

    def arrive(self, walker: Walker, worth: float) -> None:
        try:
            self.conductor.admit(walker, self.now)
        except (Overloaded, DeadlinePassed) as error:
            self.refused.append(error)
            return
        self.numbers[walker], self.worths[walker] = len(self.numbers), worth
        self.conductor.submit(walker, self.now)

    def run_one(self) -> bool:
        """Run the next batch to its end; False when nobody waits."""
        batch = self.conductor.choose(self.now)
        self.collect()
        if batch is None:
            return False
        self.batches.append(batch)
        self.pass_time(SECONDS[batch.stage] * len(batch.walkers))
        self.conductor.settle(batch, self.route(batch), self.now)
        self.collect()
        return True

    def pass_time(self, seconds: float) -> None:
        """Let time pass as it does in the server, whose timekeeper looks after those whose time is up."""
        end = self.now + seconds
        while (expiry := self.conductor.next_expiry()) < end:
            self.now = np.nextafter(max(self.now, expiry), np.inf)
            self.conductor.expire(self.now)
            self.collect()
        self.now = end

    def route(self, batch: Batch) -> Routing:
        last = batch.stage == len(MACS) - 1
        worth = np.array([-np.inf if last else self.worths[walker] for walker in batch.walkers])
        goes_on = (worth > batch.prices) | ((batch.prices == FULL) & (not last))
        after = np.where(goes_on, batch.stage + 1, LEAVE).astype(np.int16)
        rows = len(batch.walkers)
        return Routing(after, np.ones((rows, 3), np.float32) / 3, np.full(rows, 0.5, np.float32), worth)

    def drain(self) -> None:
        while self.run_one():
            pass

    def collect(self) -> None:
        for one in self.conductor.take_ended():
            number = self.numbers[one.walker]
            assert number not in self.ended, "told twice"
            self.ended[number] = one.outcome


def world(path: Path, *, sizes: tuple[int, ...] = (1, 2), times: tuple[float, ...] | None = None) -> World:
    package = load(path)
    shares = times or tuple(float(size) for size in sizes)
    profile = [StageTimes(sizes, tuple(seconds * share for share in shares)) for seconds in SECONDS]
    return World(Conductor({MODEL: Course.of(package.graph, profile, package.record)}))


def walker(now: float, patience: float, **terms: object) -> Walker:
    given_terms = {"floor": NEUTRAL, "ceiling": CHEAPEST, "max_macs": sum(MACS), "urgency_at": now + patience, **terms}
    return Walker(MODEL, Terms(deadline=Deadline(now + patience), **given_terms), now, {}, lambda *_: None)  # type: ignore[arg-type]


requests = st.lists(
    st.tuples(
        st.floats(0, 0.02),  # seconds since the former arrival
        st.floats(0.0005, 0.3),  # patience
        st.floats(0, 50),  # what going on is worth
        st.sampled_from([FULL, NEUTRAL, Price(1.0), Price(10.0)]),
        st.booleans(),  # certified
        st.sampled_from(list(OnMiss)),
        st.sampled_from([1_000_000, 2_999_999, 3_000_000, 8_000_000]),
        st.booleans(),  # its client leaves early
    ),
    max_size=40,
)


@given(requests)
def test_everybody_ends_once_and_within_its_limits(package_path: Path, crowd: list[tuple[object, ...]]) -> None:
    here = world(package_path)
    sent: list[Walker] = []
    for gap, patience, worth, floor, certified, on_miss, macs, leaves in crowd:
        here.pass_time(gap)  # type: ignore[arg-type]
        ceiling = floor if certified else CHEAPEST
        one = walker(here.now, patience, floor=floor, ceiling=ceiling, on_miss=on_miss, max_macs=macs)  # type: ignore[arg-type]
        here.arrive(one, worth)  # type: ignore[arg-type]
        sent.append(one)
        here.run_one()
        if leaves and one in here.numbers and not one.done:
            here.conductor.cancel(one, here.now)
            here.collect()
    here.drain()
    assert len(here.ended) + len(here.refused) == len(sent)
    for one, number in here.numbers.items():
        check(one, here.ended[number])
    assert len(here.conductor.queues) == 0
    assert len(here.conductor.market._book) == 0


def check(one: Walker, outcome: Outcome) -> None:
    """What every outcome has to hold."""
    assert (outcome.reason is None) == (outcome.error is not None)
    assert one.ledger.macs <= one.terms.max_macs
    assert one.ledger.macs == sum(MACS[: len(one.ledger.stages)])
    if outcome.error is not None:
        assert isinstance(outcome.error, Cancelled | DeadlinePassed)
        return
    assert outcome.standing is not None
    assert outcome.standing.exit == ("early", "middle", "last")[len(one.ledger.stages) - 1]
    if not one.late:
        assert outcome.finished_at <= one.terms.deadline.at + 1e-9
    if one.terms.floor == one.terms.ceiling:
        assert outcome.reason is not Reason.OVERLOAD
    if outcome.reason is Reason.OVERLOAD:
        assert outcome.price > one.terms.floor


@given(requests)
def test_same_requests_same_outcomes(package_path: Path, crowd: list[tuple[object, ...]]) -> None:
    def run() -> list[tuple[object, float]]:
        here = world(package_path)
        for gap, patience, worth, *_ in crowd:
            here.pass_time(gap)  # type: ignore[arg-type]
            here.arrive(walker(here.now, patience), worth)  # type: ignore[arg-type]
        here.drain()
        return [(here.ended[number].reason, here.ended[number].finished_at) for number in sorted(here.ended)]

    assert run() == run()


def test_a_walker_of_least_priority_is_served_while_urgent_ones_keep_coming(package_path: Path) -> None:
    here = world(package_path)
    patient = walker(0.0, 1.0, urgency_at=16.0, priority=7)
    here.arrive(patient, 0.0)
    while not patient.done and here.now < 60:
        urgent = walker(here.now, 1.0, urgency_at=here.now + 0.125, priority=0, floor=FULL, ceiling=FULL)
        here.arrive(urgent, 0.0)
        here.run_one()
    assert patient.done
    assert here.ended[0].standing is not None


def test_load_makes_walks_shorter_before_anybody_is_refused(package_path: Path) -> None:
    here = world(package_path)
    for _ in range(30):
        here.arrive(walker(0.0, 0.1), 5.0)
    here.drain()
    reasons = {outcome.reason for outcome in here.ended.values()}
    assert not here.refused
    assert len(here.ended) == 30
    assert Reason.OVERLOAD in reasons
    assert all(outcome.finished_at <= 0.1 for outcome in here.ended.values())


def test_beyond_the_cheapest_walks_the_door_is_shut_with_a_time_to_come_back(package_path: Path) -> None:
    here = world(package_path)
    for _ in range(130):
        here.arrive(walker(0.0, 0.1), 5.0)
    overloaded = [error for error in here.refused if isinstance(error, Overloaded)]
    here.drain()
    assert 0 < len(here.refused) == len(overloaded) < 60
    assert all(error.retry_after > 0 for error in overloaded)
    assert all(outcome.finished_at <= 0.1 for outcome in here.ended.values())


def test_a_waiting_walker_leaves_with_what_stands_once_its_time_is_up(package_path: Path) -> None:
    here = world(package_path)
    # Worth more than any price, so that only time can stop it.
    short = walker(0.0, 0.0045, floor=FULL, ceiling=FULL)
    here.arrive(short, 50.0)
    here.run_one()
    assert not short.done
    here.now = 0.004
    here.conductor.expire(here.now)
    here.collect()
    assert here.ended[0].reason is Reason.DEADLINE
    assert here.ended[0].standing is not None
    assert len(here.conductor.queues) == 0


def test_a_deadline_that_no_device_can_keep_fails_at_once_or_is_answered_late(package_path: Path) -> None:
    here = world(package_path)
    here.arrive(walker(0.0, 0.0001, on_miss=OnMiss.FAIL), 1.0)
    assert isinstance(here.refused[0], DeadlinePassed)
    here.arrive(walker(0.0, 0.0001), 1.0)
    here.drain()
    assert here.ended[0].standing is not None
    assert here.ended[0].standing.exit == "early"


def test_the_late_make_way_for_those_that_can_be_in_time(package_path: Path) -> None:
    here = world(package_path)
    late = walker(0.0, 0.0001)
    here.arrive(late, 0.0)
    in_time = [walker(0.0, 0.01) for _ in range(3)]
    for one in in_time:
        here.arrive(one, 0.0)
    here.drain()
    assert [batch.walkers[0] for batch in here.batches][-1] is late


def test_cancelled_while_waiting_never_runs_and_while_running_ends_with_its_stage(package_path: Path) -> None:
    here = world(package_path)
    running, waiting = walker(0.0, 1.0), walker(0.0, 1.0)
    here.arrive(running, 50.0)
    batch = here.conductor.choose(0.0)
    assert batch is not None
    here.arrive(waiting, 50.0)
    here.conductor.cancel(running, 0.0)
    here.conductor.cancel(waiting, 0.0)
    here.collect()
    assert set(here.ended) == {1}
    here.conductor.settle(batch, here.route(batch), 0.001)
    here.collect()
    assert isinstance(here.ended[0].error, Cancelled)
    assert running.ledger.stages == ["glance"]
    assert here.conductor.choose(0.001) is None


def test_a_failed_batch_ends_all_its_walkers_with_the_error(package_path: Path) -> None:
    here = world(package_path, sizes=(1, 4), times=(1.0, 1.5))
    for _ in range(3):
        here.arrive(walker(0.0, 1.0), 1.0)
    batch = here.conductor.choose(0.0)
    assert batch is not None
    error = RuntimeError("out of memory")
    here.conductor.fail(batch, error, 0.001)
    here.collect()
    assert [here.ended[number].error for number in range(3)] == [error] * 3


def test_batches_are_full_where_that_pays_and_cut_short_where_somebody_would_be_late(package_path: Path) -> None:
    here = world(package_path, sizes=(1, 4), times=(1.0, 1.2))
    for _ in range(5):
        here.arrive(walker(0.0, 1.0), 1.0)
    here.run_one()
    assert (len(here.batches[0].walkers), here.batches[0].release) == (4, "full")
    tight = world(package_path, sizes=(1, 4), times=(1.0, 3.5))
    for patience in (0.0014, 1.0):
        tight.arrive(walker(0.0, patience), 0.0)
    tight.run_one()
    assert (len(tight.batches[0].walkers), tight.batches[0].release) == (1, "deadline")


def test_a_thin_deep_batch_waits_for_those_behind_it_only_while_it_has_time(package_path: Path) -> None:
    def thin_batch_and_four_behind(patience: float) -> World:
        here = world(package_path, sizes=(1, 4), times=(1.0, 1.2))
        here.arrive(walker(0.0, patience, floor=FULL, ceiling=FULL), 50.0)
        here.run_one()
        for _ in range(3):
            here.arrive(walker(here.now, 5.0, floor=FULL, ceiling=FULL), 50.0)
        here.run_one()
        return here

    relaxed = thin_batch_and_four_behind(1.0)
    assert relaxed.batches[1].stage == 0
    relaxed.run_one()
    assert (relaxed.batches[2].stage, len(relaxed.batches[2].walkers)) == (1, 4)
    hurried = thin_batch_and_four_behind(0.0055)
    assert (hurried.batches[1].stage, hurried.batches[1].release) == (1, "slack")
