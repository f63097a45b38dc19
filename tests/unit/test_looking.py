"""Walks that go round loops, look again and run rows: engine and calibration walk them alike, to the last MAC."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from models.calibration.traverse import Stages, Traversal, traverse
from models.calibration.views import SourceViews
from service.answer import Answer
from service.core import Budget, Reason
from service.engine import Engine, Sample
from service.errors import Malformed, OfframpError
from service.package.load import Package
from service.routing.base import build
from service.settings import Settings
from tests.looking import LAPS, PRICES, Board, boards, write_reader, write_tiler

FULL, NEUTRAL = 0, 1
"""Places in PRICES."""
SOURCES, LABELS = boards(60, seed=7)


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Package]:
    folder = tmp_path_factory.mktemp("looking")
    return {"reader": write_reader(folder), "tiler": write_tiler(folder)}


@pytest.fixture(scope="module")
def engine(packages: dict[str, Package]) -> Iterator[Engine]:
    folder = packages["reader"].path.parent
    made = Engine(Settings(models=(folder,), lanes=1, max_in_flight=64, max_batch_rows=16, shadow_share=1.0))
    made.load()
    made.start()
    yield made
    made.stop()


@pytest.fixture(params=["reader", "tiler"])
def package(request: pytest.FixtureRequest, packages: dict[str, Package]) -> Package:
    return packages[request.param]


def walked(package: Package) -> Traversal:
    stages = Stages.of(package.manifest, package.path)
    return traverse(stages, build(package), SourceViews(SOURCES), PRICES, batch=17)


def ask(engine: Engine, name: str, budget: Budget, sources: list[Board], *, explain: bool = False) -> list[Answer]:
    def opener(source: Board) -> Callable[[], Board]:
        return lambda: source

    samples = [Sample(opener(source), budget, time.monotonic(), explain) for source in sources]
    return asyncio.run(engine.predict(engine.model(name), samples))


@pytest.mark.parametrize(("budget", "price"), [(Budget(agreement=1.0), FULL), (Budget(latency_ms=60_000), NEUTRAL)])
def test_the_engine_walks_as_the_calibration_does(engine: Engine, package: Package, budget: Budget, price: int) -> None:
    expected = walked(package)
    answers = ask(engine, package.name, budget, SOURCES)
    assert [int(answer.standing.output.argmax()) for answer in answers] == expected.predictions[price].tolist()
    assert [answer.ledger.macs for answer in answers] == expected.macs[price].tolist()
    names = package.graph.exits
    assert [answer.standing.exit for answer in answers] == [names[place] for place in expected.exits[price]]
    assert not any(answer.reason.forced for answer in answers)


def test_a_higher_price_spends_less_and_inputs_differ(package: Package) -> None:
    macs = walked(package).macs
    assert np.all(np.diff(macs.mean(axis=1)) <= 0)
    assert macs[3].mean() < macs[FULL].mean()
    assert len(np.unique(macs[3])) > 1


def test_exits_and_stages_are_named_by_lap(packages: dict[str, Package]) -> None:
    graph = packages["reader"].graph
    assert graph.names == graph.exits == tuple(f"read{lap}" for lap in range(1, LAPS + 1))
    assert graph.stage_of == (0,) * LAPS
    assert graph.chain
    assert not packages["tiler"].graph.chain


def test_the_share_of_the_full_network_is_that_of_this_input(engine: Engine) -> None:
    answers = ask(engine, "reader", Budget(agreement=1.0), SOURCES)
    assert {answer.fraction_of_full for answer in answers} == {1.0}
    assert {answer.ledger.macs for answer in answers} == {3_000, 4_000}
    assert {answer.reason for answer in answers} == {Reason.LAST}


def test_explain_tells_where_it_looked(engine: Engine) -> None:
    (answer,) = ask(engine, "reader", Budget(agreement=1.0), SOURCES[:1], explain=True)
    boxes = [tuple(one["box"]) for step in answer.seen for one in step]
    assert len(boxes) == len(answer.trace or []) >= 3
    assert len(set(boxes)) >= 3
    assert answer.picture == b"PNG of %d" % len(boxes)


def test_explain_tells_which_rows_ran(engine: Engine) -> None:
    (answer,) = ask(engine, "tiler", Budget(agreement=1.0), SOURCES[:1], explain=True)
    assert answer.trace is not None
    assert [step.rows for step in answer.trace] == [1, 4, 1]
    assert [len(step) for step in answer.seen] == [1, 4, 0]
    assert answer.ledger.macs == 100 + 4 * 1_000 + 10


def test_a_limit_cuts_the_least_valuable_rows_and_says_so(engine: Engine, packages: dict[str, Package]) -> None:
    wanted = walked(packages["tiler"]).macs[NEUTRAL][:20]
    cut = ask(engine, "tiler", Budget(compute_mmacs=2_200 / 1e6, latency_ms=60_000), SOURCES[:20])
    assert [answer.ledger.macs for answer in cut] == np.minimum(wanted, 2_110).tolist()
    assert [answer.reason is Reason.COMPUTE for answer in cut] == (wanted > 2_110).tolist()
    assert 0 < (wanted > 2_110).sum() < 20


def test_a_glimpse_that_can_t_be_made_ends_its_walk_alone(engine: Engine) -> None:
    class Torn(Board):
        def look(self, glimpse, at):  # type: ignore[no-untyped-def]
            if at is not None and at[0, 1] > 0:
                raise Malformed("torn")
            return super().look(glimpse, at)

    with pytest.raises(OfframpError, match="torn"):
        ask(engine, "reader", Budget(agreement=1.0), [Torn(SOURCES[0].pixels)])
    assert len(ask(engine, "reader", Budget(agreement=1.0), SOURCES[:2])) == 2


def test_audits_see_the_full_walk_of_inputs_that_left_early(engine: Engine, package: Package) -> None:
    before = engine.models[package.name].telemetry.audits._value.get()
    ask(engine, package.name, Budget(agreement=0.5, confidence=0.6), SOURCES[:20])
    until = time.monotonic() + 20
    while engine.models[package.name].telemetry.audits._value.get() < before + 20 and time.monotonic() < until:
        time.sleep(0.02)
    assert engine.models[package.name].telemetry.audits._value.get() >= before + 20


def test_every_slot_comes_back(engine: Engine, package: Package) -> None:
    pool = engine.models[package.name].pool
    until = time.monotonic() + 20
    while pool.free < 64 and time.monotonic() < until:
        time.sleep(0.02)
    assert pool.free == 64
