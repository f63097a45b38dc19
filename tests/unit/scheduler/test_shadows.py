"""Audited walkers: answered like all others, then finished by a shadow that nobody has to wait for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core import CHEAPEST, FULL, NEUTRAL, NEVER, Audit, Deadline, Outcome, Price, Reason, Terms, Walker
from service.errors import Cancelled, OfframpError, StageFailed
from service.package.load import load
from service.routing.base import LEAVE, Routing
from service.scheduler.batch import Batch
from service.scheduler.conductor import Conductor
from service.scheduler.course import Course
from service.scheduler.estimator import StageTimes
from tests.packages import MACS

MODEL = "colours"
SECONDS = (0.001, 0.002, 0.005)
LAST = len(MACS) - 1
PRICE = Price(1.0)


@dataclass(eq=False)
class Lane:
    """One lane on a virtual clock. `worths` says for each slot what going on is worth at its exits but the last."""

    conductor: Conductor
    worths: dict[int, tuple[float, float]] = field(default_factory=dict)
    ended: list[tuple[Walker, Outcome]] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    now: float = 0.0

    def send(self, *worths: float, audited: bool = True, deadline: Deadline = NEVER, macs: int = sum(MACS)) -> Walker:
        """A walker comes that pays 1, or more under load."""
        terms = Terms(PRICE, CHEAPEST, deadline, macs, self.now)
        walker = Walker(MODEL, terms, self.now, {}, lambda *_: None, slot=len(self.worths))
        walker.audit = Audit() if audited else None
        self.worths[walker.slot] = (worths[0], worths[-1])
        self.conductor.admit(walker, self.now)
        self.conductor.submit(walker, self.now)
        return walker

    def begin(self) -> Batch | None:
        batch = self.conductor.choose(self.now)
        self.collect()
        self.batches += [batch] if batch else []
        return batch

    def finish(self, batch: Batch) -> None:
        self.now += SECONDS[batch.stage] * len(batch.walkers)
        self.conductor.settle(batch, self.route(batch), self.now)
        self.collect()

    def route(self, batch: Batch) -> Routing:
        """The rule of early exit; exit k answers class k."""
        slots = [walker.slot for walker in batch.walkers]
        last = batch.stage == LAST
        worth = np.array([-np.inf if last else self.worths[slot][batch.stage] for slot in slots])
        goes_on = ((worth > batch.prices) | (batch.prices == FULL)) & (not last)
        answer = np.tile(np.eye(3, dtype=np.float32)[batch.stage], (len(slots), 1))
        after = np.where(goes_on, batch.stage + 1, LEAVE).astype(np.int16)
        return Routing(after, answer, np.full(len(slots), 0.5, np.float32), worth)

    def run_one(self) -> bool:
        batch = self.begin()
        if batch:
            self.finish(batch)
        return batch is not None

    def drain(self) -> None:
        while self.run_one():
            pass

    def collect(self) -> None:
        self.ended += [(one.walker, one.outcome) for one in self.conductor.take_ended()]

    def outcome(self, walker: Walker) -> Outcome:
        (found,) = (outcome for one, outcome in self.ended if one is walker)
        return found

    @property
    def shadows(self) -> list[tuple[Walker, Outcome]]:
        return [(walker, outcome) for walker, outcome in self.ended if walker.shadow]

    @property
    def freed(self) -> Counter[int]:
        """How often each slot was freed: by whoever holds it when it ends."""
        return Counter(walker.slot for walker, _ in self.ended if walker.slot >= 0)


@pytest.fixture(scope="module")
def course_path(colours: Path) -> Path:
    return colours


def lane(path: Path) -> Lane:
    package = load(path)
    times = [StageTimes((1, 2), (seconds, 2 * seconds)) for seconds in SECONDS]
    return Lane(Conductor({MODEL: Course.of(package.graph, times, package.record)}))


def receipt(walker: Walker, outcome: Outcome) -> tuple[object, ...]:
    """All that a client can see of it."""
    ledger, standing = walker.ledger, outcome.standing
    seen = (outcome.reason, outcome.price, outcome.finished_at, type(outcome.error))
    spent = (ledger.stages, ledger.macs, ledger.rows, ledger.device_s, ledger.queue_s)
    steps = [(step.stage, step.exit, step.score, step.price, step.verdict) for step in walker.trace or []]
    return (*seen, *spent, standing and (standing.exit, standing.score, standing.output.tolist()), steps)


worth = st.sampled_from([0.0, 0.5, 1.0, 2.0, 1e9])
crowd = st.lists(
    st.tuples(
        worth, worth, st.sampled_from([0.002, 0.01, 0.03, 1.0]), st.sampled_from([1_000_000, 3_000_000, sum(MACS)])
    ),
    min_size=1,
    max_size=12,
)


@given(crowd)
def test_an_audited_walk_is_answered_as_if_it_were_not(
    course_path: Path, requests: list[tuple[float, float, float, int]]
) -> None:
    def run(*, audited: bool) -> list[tuple[object, ...]]:
        here, seen = lane(course_path), []
        for first, second, patience, macs in requests:
            try:
                sent = here.send(first, second, audited=audited, deadline=Deadline(patience), macs=macs)
                sent.trace = []
                seen.append(sent)
            except OfframpError:
                seen.append(None)
        here.drain()
        return [one and receipt(one, here.outcome(one)) for one in seen]

    assert run(audited=True) == run(audited=False)


def test_the_shadow_finishes_the_walk_and_notes_every_exit(course_path: Path) -> None:
    here = lane(course_path)
    walker = here.send(0.5, 3.0)
    here.drain()
    answered, ((shadow, outcome),) = here.outcome(walker), here.shadows
    assert (answered.reason, answered.standing and answered.standing.exit) == (Reason.CONFIDENT, "early")
    assert walker.ledger.macs == MACS[0]
    assert (shadow.ledger.macs, outcome.reason) == (sum(MACS[1:]), Reason.LAST)
    assert walker.audit is shadow.audit
    assert shadow.audit is not None
    assert (shadow.audit.worths, shadow.audit.answers, shadow.audit.complete) == ([0.5, 3.0, FULL], [0, 1, 2], True)
    assert (walker.slot, shadow.slot) == (-1, 0)


def test_a_walk_that_goes_to_the_end_by_itself_needs_no_shadow(course_path: Path) -> None:
    here = lane(course_path)
    walker = here.send(2.0)
    here.drain()
    assert here.shadows == []
    assert walker.audit is not None
    assert (walker.audit.answers, walker.audit.complete, walker.slot) == ([0, 1, 2], True, 0)


def test_a_shadow_runs_only_when_nobody_else_waits_and_alone(course_path: Path) -> None:
    here = lane(course_path)
    for _ in range(3):
        here.send(0.5)
    while len(here.ended) < 3:
        here.run_one()
    assert len(here.conductor.shadows) == 3
    late = [here.send(2.0, audited=False) for _ in range(4)]
    while not all(walker.done for walker in late):
        batch = here.begin()
        assert batch is not None
        assert not any(walker.shadow for walker in batch.walkers)
        here.finish(batch)
    here.drain()
    assert len(here.shadows) == 3
    assert all(len(batch.walkers) == 1 for batch in here.batches if batch.walkers[0].shadow)


def test_shadows_move_neither_market_nor_admission(course_path: Path) -> None:
    here = lane(course_path)
    for _ in range(8):
        here.send(0.5)
    while len(here.ended) < 8:
        here.run_one()
    assert len(here.conductor.shadows) == 8
    assert len(here.conductor.queues) == 0
    here.send(2.0, audited=False, deadline=Deadline(here.now + 0.009))
    here.begin()
    assert here.conductor.market.price == NEUTRAL


@pytest.mark.parametrize(
    ("patience", "macs", "reason"), [(0.0025, sum(MACS), Reason.DEADLINE), (1.0, 2_999_999, Reason.COMPUTE)]
)
def test_what_a_limit_ends_is_answered_then_and_finished_later(
    course_path: Path, patience: float, macs: int, reason: Reason
) -> None:
    here = lane(course_path)
    walker = here.send(1e9, deadline=Deadline(patience), macs=macs)
    here.run_one()
    assert here.outcome(walker).reason is reason
    assert here.outcome(walker).finished_at == SECONDS[0]
    here.drain()
    ((shadow, outcome),) = here.shadows
    assert outcome.reason is Reason.LAST
    assert shadow.ledger.stages == ["look", "stare"]
    assert here.freed == {0: 1}


def test_a_deadline_that_passes_in_the_queue_is_answered_then_and_finished_later(course_path: Path) -> None:
    here = lane(course_path)
    walker = here.send(1e9, deadline=Deadline(0.004))
    here.run_one()
    here.now = 0.01
    here.conductor.expire(here.now)
    here.collect()
    assert here.outcome(walker).reason is Reason.DEADLINE
    here.drain()
    assert [outcome.reason for _, outcome in here.shadows] == [Reason.LAST]
    assert here.freed == {0: 1}


def test_load_ends_an_audited_walk_and_its_shadow_finishes_it_afterwards(course_path: Path) -> None:
    here = lane(course_path)
    walkers = [here.send(2.0, deadline=Deadline(0.05)) for _ in range(20)]
    here.drain()
    overloaded = [walker for walker in walkers if here.outcome(walker).reason is Reason.OVERLOAD]
    assert overloaded
    assert all(here.outcome(walker).finished_at <= 0.05 for walker in walkers)
    assert all(walker.audit and walker.audit.complete for walker in walkers)
    assert here.freed == dict.fromkeys(range(20), 1)


def test_who_leaves_before_the_answer_has_no_shadow(course_path: Path) -> None:
    here = lane(course_path)
    waiting, running = here.send(0.5), here.send(0.5)
    here.conductor.cancel(waiting, here.now)
    batch = here.begin()
    assert batch is not None
    here.conductor.cancel(running, here.now)
    here.finish(batch)
    here.drain()
    assert [type(here.outcome(walker).error) for walker in (waiting, running)] == [Cancelled, Cancelled]
    assert here.shadows == []
    assert here.freed == {0: 1, 1: 1}


def test_who_leaves_after_the_answer_does_not_end_the_shadow(course_path: Path) -> None:
    here = lane(course_path)
    walker = here.send(0.5)
    here.run_one()
    here.conductor.cancel(walker, here.now)
    here.drain()
    assert [outcome.reason for _, outcome in here.shadows] == [Reason.LAST]
    assert here.freed == {0: 1}


def test_a_shadow_whose_stage_fails_ends_once(course_path: Path) -> None:
    here = lane(course_path)
    walker = here.send(0.5)
    here.run_one()
    batch = here.begin()
    assert batch is not None
    here.conductor.fail(batch, StageFailed("broken"), here.now)
    here.drain()
    assert here.outcome(walker).error is None
    ((shadow, outcome),) = here.shadows
    assert isinstance(outcome.error, StageFailed)
    assert shadow.audit is not None
    assert not shadow.audit.complete
    assert here.freed == {0: 1}


def test_dismissed_shadows_end_now_or_with_their_stage_and_none_follow(course_path: Path) -> None:
    here = lane(course_path)
    for _ in range(2):
        here.send(0.5)
    while len(here.ended) < 2:
        here.run_one()
    running = here.begin()
    assert running is not None
    here.conductor.dismiss(here.now)
    here.collect()
    assert len(here.shadows) == 1
    here.finish(running)
    assert len(here.shadows) == 2
    assert all(isinstance(outcome.error, Cancelled) for _, outcome in here.shadows)
    accepted = here.send(0.5)
    here.drain()
    assert here.outcome(accepted).reason is Reason.CONFIDENT
    assert len(here.shadows) == 2
    assert here.freed == {0: 1, 1: 1, 2: 1}


events = st.lists(
    st.one_of(
        st.tuples(st.just("send"), worth, st.sampled_from([0.002, 0.01, 1.0]), st.booleans()),
        st.tuples(st.just("run"), st.just(0.0), st.just(0.0), st.just(False)),
        st.tuples(st.just("cancel"), st.integers(0, 30), st.just(0.0), st.just(False)),
        st.tuples(st.just("wait"), st.just(0.0), st.sampled_from([0.001, 0.02]), st.just(False)),
        st.tuples(st.just("dismiss"), st.just(0.0), st.just(0.0), st.just(False)),
    ),
    max_size=60,
)


@given(events)
def test_whatever_happens_every_slot_is_freed_once(
    course_path: Path, happenings: list[tuple[str, float, float, bool]]
) -> None:
    here, sent = lane(course_path), []
    for what, number, seconds, audited in happenings:
        if what == "send":
            try:
                sent.append(here.send(number, audited=audited, deadline=Deadline(here.now + seconds)))
            except OfframpError:
                del here.worths[len(here.worths) - 1]
        elif what == "run":
            here.run_one()
        elif what == "cancel" and sent:
            here.conductor.cancel(sent[int(number) % len(sent)], here.now)
        elif what == "wait":
            here.now += seconds
        elif what == "dismiss":
            here.conductor.dismiss(here.now)
        here.collect()
    here.drain()
    assert here.freed == dict.fromkeys(range(len(sent)), 1)
    assert Counter(walker for walker, _ in here.ended if not walker.shadow) == Counter(sent)
    assert len(here.conductor.shadows) == len(here.conductor.queues) == 0
    spent = sum(walker.ledger.macs for walker, _ in here.ended)
    assert spent == sum(MACS[batch.stage] * len(batch.walkers) for batch in here.batches)
