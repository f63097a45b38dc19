"""Lanes that meet errors of the scheduler itself: everybody is told, and nothing ends in silence."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.core import CHEAPEST, FULL, NEVER, Deadline, Terms, Walker
from service.errors import NotReady, OfframpError, Overloaded, StageFailed
from service.executor import Executor
from service.package.load import Package, load
from service.routing.base import build
from service.runtime.fake import FakeRunner
from service.scheduler.batch import Ended
from service.scheduler.conductor import Conductor
from service.scheduler.course import Course
from service.scheduler.estimator import StageTimes
from tests.packages import MACS

MODEL = "colours"


@dataclass
class Told:
    """Who was told, and that somebody was."""

    ended: list[Ended] = field(default_factory=list)
    some: threading.Condition = field(default_factory=threading.Condition)

    def __call__(self, one: Ended) -> None:
        with self.some:
            self.ended.append(one)
            self.some.notify_all()

    def errors(self, count: int) -> list[object]:
        """How that many walks ended."""
        with self.some:
            assert self.some.wait_for(lambda: len(self.ended) >= count, 20), "somebody was never told"
        return [type(one.outcome.error) for one in self.ended]


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def executor(package: Package, told: Told) -> Iterator[Executor]:
    """One lane, started; every answer is sure of itself."""
    times = [StageTimes((1, 2), (1e-4, 2e-4)) for _ in MACS]
    outputs = [stage.outputs for stage in package.manifest.stages]

    def answer(_: str, stage: int, walkers: Any) -> dict[str, Any]:
        return {name: np.tile(np.array([9, 0, 0], np.float32), (len(walkers), 1)) for name in outputs[stage]}

    conductor = Conductor({MODEL: Course.of(package.graph, times, package.record)})
    made = Executor(
        conductor, {MODEL: build(package)}, [FakeRunner(answer)], on_batch=_nobody, on_ended=told, on_look=_nobody
    )
    made.start()
    yield made
    made.stop(5)


def _nobody(*_: object) -> None:
    """Batches and looks are of no interest here."""


def walker(*, patience_s: float | None = None) -> Walker:
    now = time.monotonic()
    deadline = NEVER if patience_s is None else Deadline(now + patience_s)
    return Walker(MODEL, Terms(FULL, CHEAPEST, deadline, sum(MACS), now), now, {}, lambda *_: None)


def go(executor: Executor) -> None:
    one = walker()
    executor.admit([one])
    executor.submit(one)


def test_settling_that_raises_ends_the_batch_and_not_the_lane(
    executor: Executor, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as broken:
        broken.setattr(executor._conductor, "_send", lambda *_: 1 / 0)
        go(executor)
        assert told.errors(1) == [StageFailed]
    go(executor)
    assert told.errors(2) == [StageFailed, type(None)]
    assert (executor.dead, executor.alive) == ([], True)


def test_choosing_that_raises_ends_the_lane_aloud_and_everybody_is_told(
    executor: Executor, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executor._conductor, "_priced_out", lambda *_: 1 / 0)
    go(executor)
    assert told.errors(1) == [StageFailed]
    executor._threads[0].join(20)
    assert (executor.dead, executor.alive) == (["lane-0"], False)
    go(executor)
    assert told.errors(2) == [StageFailed, NotReady]


def test_all_of_a_request_are_let_in_or_none(executor: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    admit = executor._conductor.admit
    crowd = [walker() for _ in range(3)]

    def third_refused(one: Walker, now: float) -> None:
        if one is crowd[2]:
            raise Overloaded("full", retry_after=1.0)
        admit(one, now)

    monkeypatch.setattr(executor._conductor, "admit", third_refused)
    with pytest.raises(OfframpError):
        executor.admit(crowd)
    assert [one.row for one in crowd] == [-1, -1, -1]
    assert [one.done for one in crowd] == [True, True, False]


def test_whoever_was_held_up_before_its_turn_is_refused_rather_than_late(executor: Executor) -> None:
    one = walker(patience_s=0.01)
    time.sleep(0.02)
    with pytest.raises(Overloaded):
        executor.admit([one])


def test_whoever_asks_for_the_impossible_is_served_late(executor: Executor) -> None:
    one = walker(patience_s=1e-9)
    executor.admit([one])
    assert one.late
    executor.withdraw(one)
