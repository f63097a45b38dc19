"""Skipping blocks by gates, by halting and by a policy: by hand, at the ends of the price path, and for any values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.core import CHEAPEST, FULL
from service.errors import PackageError
from service.package.graph import StageGraph
from service.package.load import Package, load
from service.package.manifest import Manifest
from service.routing.base import LEAVE, Routing, build
from service.routing.skipping import Skipping

Arrays = dict[str, NDArray[Any]]
INF = float("inf")
TABLES: Arrays = {
    "knob_prices": np.array([-INF, 1.0, 5.0, 20.0]),
    "knobs": np.array([0.0, 0.25, 0.75, 2.0], np.float32),
    "temperature": np.array([2.0], np.float32),
}
# Two groups: `start` leads to `a` and `b`, and on to `turn`, which has an exit and leads to `c`.
FREE = {"start": ["a", "b", "turn"], "a": ["b", "turn"], "b": ["turn"], "turn": ["c"], "c": []}
IN_A_ROW = FREE | {"start": ["a", "turn"]}
START, A, B, TURN, C = range(5)
COLUMN = {A: 0, B: 1, C: 2}
PORTS = {"skip-gate": "gates", "skip-policy": "policy", "skip-halting": "halted"}
WAYS = {"skip-gate": FREE, "skip-policy": FREE, "skip-halting": IN_A_ROW}


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


def skipping(
    package: Package, router: str, ways: Mapping[str, list[str]] | None = None, tables: Mapping[str, Any] | None = None
) -> Package:
    """The package with these stages, whatever its graphs are: routers see none of them."""
    ways, prefix = ways or WAYS[router], PORTS[router]
    stages = [
        {
            "name": name,
            "graph": "glance.onnx",
            "sha256": "0" * 64,
            "macs_per_row": 1_000,
            "inputs": {"image": {"glimpse": "image", "height": 8, "width": 8}} if name == "start" else {"x": "state"},
            "outputs": {"x": "state", f"{prefix}1": "state"} | ({"logits": "answer"} if name in ("turn", "c") else {}),
            "exit": f"{name}-exit" if name in ("turn", "c") else None,
            "next": after,
        }
        for name, after in ways.items()
    ]
    manifest = package.manifest.model_dump() | {"stages": stages, "router": {"name": router}}
    valid = Manifest.model_validate(manifest)
    return dataclasses.replace(
        package, manifest=valid, graph=StageGraph.of(valid.stages), tables=TABLES | dict(tables or {})
    )


@pytest.fixture(scope="module")
def routers(package: Package) -> dict[str, Skipping]:
    made = {name: build(skipping(package, name)) for name in PORTS}
    return {name: router for name, router in made.items() if isinstance(router, Skipping)}


def outputs(router: str, stage: int, values: NDArray[np.float32]) -> Arrays:
    """What a stage gives where the blocks a, b, c have these values, [rows, 3]."""
    told = {
        "skip-gate": values[:, :2] if stage < TURN else values[:, 2:],
        "skip-policy": values,
        "skip-halting": 1 - values[:, [{START: 0, A: 1, TURN: 2}.get(stage, 0)]],
    }
    return {
        f"{PORTS[router]}1": told[router],
        "logits": np.tile(np.array([0.0, 2.0, 0.0], np.float32), (len(values), 1)),
    }


def routed(router: Skipping, name: str, stage: int, values: list[list[float]], prices: list[float]) -> Routing:
    return router.route(stage, outputs(name, stage, np.array(values, np.float32)), np.array(prices))


@pytest.mark.parametrize("name", ["skip-gate", "skip-policy"])
def test_the_first_block_that_reaches_the_threshold_is_entered(routers: dict[str, Skipping], name: str) -> None:
    values = [[0.5, 0.9, 0.1]] * 4
    routing = routed(routers[name], name, START, values, [FULL, 1.0, 5.0, CHEAPEST])
    assert routing.next.tolist() == [A, A, B, TURN]
    assert routing.next.dtype == np.int16
    assert routing.answer is None
    assert routing.worth is None
    assert routed(routers[name], name, A, values, [FULL, 1.0, 5.0, 20.0]).next.tolist() == [B, B, B, TURN]


def test_a_walk_goes_on_until_too_little_weight_remains(routers: dict[str, Skipping]) -> None:
    values = [[1.0, 0.5, 0.0]] * 4
    prices = [FULL, 1.0, 5.0, CHEAPEST]
    assert routed(routers["skip-halting"], "skip-halting", START, values, prices).next.tolist() == [A, A, A, TURN]
    assert routed(routers["skip-halting"], "skip-halting", A, values, prices).next.tolist() == [B, B, TURN, TURN]
    # All weight is given away, yet the full walk runs everything.
    assert routed(routers["skip-halting"], "skip-halting", TURN, values, prices).next.tolist() == [C] + [LEAVE] * 3


def test_a_sum_that_rounding_carried_beyond_1_runs_at_the_full_price(routers: dict[str, Skipping]) -> None:
    beyond = {"halted1": np.array([[1.0001]], np.float32)}
    assert routers["skip-halting"].route(START, beyond, np.array([FULL])).next.tolist() == [A]


@pytest.mark.parametrize("name", list(PORTS))
def test_after_the_last_block_of_a_group_there_is_one_way(routers: dict[str, Skipping], name: str) -> None:
    routing = routed(routers[name], name, B, [[0.9, 0.9, 0.9]] * 2, [FULL, CHEAPEST])
    assert routing.next.tolist() == [TURN, TURN]
    assert routing.signals is None


@pytest.mark.parametrize("name", list(PORTS))
def test_an_exit_answers_and_says_from_which_price_the_walk_leaves(routers: dict[str, Skipping], name: str) -> None:
    routing = routed(routers[name], name, TURN, [[0, 0, 0.1], [0, 0, 0.25], [0, 0, 0.8], [0, 0, 1.0]], [5.0] * 4)
    assert routing.next.tolist() == [LEAVE, LEAVE, C, C]
    assert routing.answer is not None
    assert routing.answer.sum(axis=1) == pytest.approx(1)
    assert routing.score == pytest.approx(np.e / (np.e + 2))
    assert routing.worth is not None
    assert routing.worth.tolist() == [1.0, 5.0, 20.0, 20.0]


@pytest.mark.parametrize("name", list(PORTS))
def test_the_last_exit_leads_nowhere(routers: dict[str, Skipping], name: str) -> None:
    routing = routed(routers[name], name, C, [[0.9, 0.9, 0.9]], [FULL])
    assert routing.next.tolist() == [LEAVE]
    assert routing.worth is not None
    assert routing.worth.tolist() == [-INF]


def test_signals_tell_values_and_threshold(routers: dict[str, Skipping]) -> None:
    for name, signal, shown in [
        ("skip-gate", "gate", 2),
        ("skip-policy", "policy", 2),
        ("skip-halting", "remaining", 1),
    ]:
        signals = routed(routers[name], name, START, [[0.5, 0.9, 0.1]], [5.0]).signals
        assert signals is not None
        assert set(signals) == {signal, "threshold"}
        assert signals[signal].tolist() == [np.array([0.5, 0.9], np.float32)[:shown].tolist()]
        assert signals["threshold"].tolist() == [0.75]


def walk(router: Skipping, name: str, values: NDArray[np.float32], price: float) -> list[int]:
    """Stages of one walk; at each exit, that it leaves just where the price has reached its worth."""
    way = [START]
    while True:
        routing = router.route(way[-1], outputs(name, way[-1], values), np.array([price]))
        if routing.worth is not None:
            assert (routing.next[0] == LEAVE) == (routing.worth[0] <= price or way[-1] == C)
        if routing.next[0] == LEAVE:
            return way
        way.append(int(routing.next[0]))


unit = st.floats(0, 1, width=32)


@settings(max_examples=60)
@given(st.sampled_from(list(PORTS)), st.tuples(unit, unit, unit), st.tuples(st.floats(-10, 50), st.floats(-10, 50)))
def test_a_higher_price_never_runs_a_block_more(
    routers: dict[str, Skipping], name: str, values: tuple[float, float, float], prices: tuple[float, float]
) -> None:
    row = np.array([values], np.float32)
    if name == "skip-halting":  # what is left of a group's weight never grows along the group
        row[:, COLUMN[B]] = row[:, :2].min(axis=1)
    low, high = (set(walk(routers[name], name, row, price)) for price in sorted(prices))
    assert high <= low
    assert walk(routers[name], name, row, FULL) == [START, A, B, TURN, C]
    assert walk(routers[name], name, row, CHEAPEST) == [START, TURN]


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({"knobs": np.array([0.0, 0.5, 0.25, 2.0])}, "rise with the price"),
        ({"knobs": np.array([0.1, 0.25, 0.5, 2.0])}, "from 0 or less"),
        ({"knobs": np.array([0.0, 0.25, 0.5, 1.0])}, "above 1"),
        ({"temperature": np.array([0.0], np.float32)}, "above 0"),
        ({"temperature": np.array([1.0, 1.0], np.float32)}, "one number"),
        ({"temperature": np.array([np.nan], np.float32)}, "above 0"),
    ],
)
def test_tables_that_do_not_fit_are_refused(package: Package, tables: Arrays, problem: str) -> None:
    for name in PORTS:
        with pytest.raises(PackageError, match=problem):
            build(skipping(package, name, tables=tables))


def test_no_temperature_is_refused(package: Package) -> None:
    found = skipping(package, "skip-gate")
    without = {name: table for name, table in found.tables.items() if name != "temperature"}
    with pytest.raises(PackageError, match="temperature"):
        build(dataclasses.replace(found, tables=without))


def test_stages_that_do_not_fit_are_refused(package: Package) -> None:
    with pytest.raises(PackageError, match="in a row"):
        build(skipping(package, "skip-halting", FREE))


@pytest.mark.parametrize("name", list(PORTS))
def test_a_stage_that_leads_to_blocks_without_their_values_is_refused(package: Package, name: str) -> None:
    found = skipping(package, name)
    stages = [
        stage.model_copy(update={"outputs": {f"other_{name}": kind for name, kind in stage.outputs.items()}})
        for stage in found.manifest.stages
    ]
    manifest = found.manifest.model_copy(update={"stages": tuple(stages)})
    with pytest.raises(PackageError, match=f"0 outputs named {PORTS[name]}"):
        build(dataclasses.replace(found, manifest=manifest))
