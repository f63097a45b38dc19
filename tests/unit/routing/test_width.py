"""Choosing a width: by hand, at the ends of the price path, and for any values."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.core import CHEAPEST, FULL
from service.errors import PackageError
from service.package.graph import StageGraph
from service.package.load import Package, load
from service.package.manifest import Manifest
from service.routing.base import LEAVE, build
from service.routing.width import Width, turning_prices

Arrays = dict[str, NDArray[Any]]
LOOK, NARROW, WIDE = range(3)
MACS = {"look": 20_000_000, "narrow": 5_000_000, "wide": 10_000_000}
TABLES: Arrays = {
    "temperature": np.array([1.0, 2.0, 1.0], np.float32),
    "value_scale": np.ones(3, np.float32),
    "value_shift": np.zeros(3, np.float32),
}


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


def widths(
    package: Package,
    *,
    tables: Mapping[str, Any] | None = None,
    macs: Mapping[str, int] = MACS,
    look_answers: bool = True,
) -> Package:
    """The package with these stages, whatever its graphs are: routers see none of them."""
    stages = [
        {
            "name": name,
            "graph": "glance.onnx",
            "sha256": "0" * 64,
            "macs_per_row": cost,
            "inputs": {"image": {"glimpse": "image", "height": 8, "width": 8}} if name == "look" else {"x": "state"},
            "outputs": ({"x": "state", "value": "state"} if name == "look" else {})
            | ({"logits": "answer"} if look_answers or name != "look" else {}),
            "exit": f"{name}-exit" if look_answers or name != "look" else None,
            "next": ["narrow", "wide"] if name == "look" else [],
        }
        for name, cost in macs.items()
    ]
    manifest = package.manifest.model_dump() | {"stages": stages, "router": {"name": "width"}}
    valid = Manifest.model_validate(manifest)
    return dataclasses.replace(
        package, manifest=valid, graph=StageGraph.of(valid.stages), tables=TABLES | dict(tables or {})
    )


@pytest.fixture(scope="module")
def router(package: Package) -> Width:
    made = build(widths(package))
    assert isinstance(made, Width)
    return made


def looked(*shares: float, rows: int = 1) -> Arrays:
    """What the first stage gives where the options are right with these probabilities."""
    value = np.log(np.array(shares)) - np.log1p(-np.array(shares))
    return {"value": np.tile(value.astype(np.float32), (rows, 1)), "logits": np.tile(np.array([0.0, 1.0]), (rows, 1))}


def test_the_arg_max_of_value_less_price_times_compute_is_taken(router: Width) -> None:
    # Narrow gains 0.1 for 5 MMACs: 20 a GMAC; wide 0.05 more for 5 more: 10.
    prices = np.array([FULL, 0.0, 9.9, 10.1, 19.9, 20.1, CHEAPEST])
    routing = router.route(LOOK, looked(0.7, 0.8, 0.85, rows=7), prices)
    assert routing.next.tolist() == [WIDE, WIDE, WIDE, NARROW, NARROW, LEAVE, LEAVE]
    assert routing.next.dtype == np.int16
    assert routing.worth == pytest.approx(np.full(7, 20.0), rel=1e-5)
    assert routing.signals is not None
    assert routing.signals["value"][0] == pytest.approx([0.7, 0.8, 0.85])


def test_an_option_that_buys_nothing_is_passed_over_except_on_the_full_walk(router: Width) -> None:
    routing = router.route(LOOK, looked(0.7, 0.6, 0.9, rows=3), np.array([FULL, 1.0, 30.0]))
    assert routing.next.tolist() == [WIDE, WIDE, LEAVE]
    assert router.route(LOOK, looked(0.9, 0.8, 0.7, rows=2), np.array([FULL, 0.0])).next.tolist() == [WIDE, LEAVE]


def test_ties_go_to_the_cheaper(router: Width) -> None:
    assert router.route(LOOK, looked(0.7, 0.7, 0.7), np.array([0.0])).next.tolist() == [LEAVE]


def test_scale_and_shift_are_the_table_s(package: Package) -> None:
    scaled = build(widths(package, tables={"value_shift": np.array([0, 0, -9], np.float32)}))
    assert scaled.route(LOOK, looked(0.7, 0.8, 0.85), np.array([1.0])).next.tolist() == [NARROW]


def test_a_width_answers_at_its_own_temperature_and_leads_nowhere(router: Width) -> None:
    routing = router.route(NARROW, {"logits": np.array([[0.0, 2.0]], np.float32)}, np.array([FULL]))
    assert routing.next.tolist() == [LEAVE]
    assert routing.score == pytest.approx(np.e / (1 + np.e))
    assert routing.worth is not None
    assert routing.worth.tolist() == [-np.inf]


def test_without_an_exit_at_the_first_stage_every_walk_gets_a_width(package: Package) -> None:
    tables = {name: table[1:] for name, table in TABLES.items()}
    router = build(widths(package, tables=tables, look_answers=False))
    routing = router.route(LOOK, looked(0.8, 0.85, rows=3), np.array([FULL, 11.0, CHEAPEST]))
    assert routing.next.tolist() == [WIDE, NARROW, NARROW]
    assert routing.answer is None
    assert routing.worth is None


values = st.lists(st.floats(0, 1), min_size=4, max_size=4)


@given(values, st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)))
def test_a_higher_price_never_takes_a_dearer_option(row: list[float], prices: tuple[float, float]) -> None:
    gmacs = np.array([0.0, 0.003, 0.01, 0.03])
    turning = turning_prices(np.array([row]), gmacs)
    assert np.all(np.diff(turning) <= 0)
    low, high = ((turning > price).sum() for price in sorted(prices))
    assert high <= low
    best = np.array(row) - max(prices) * gmacs
    assert best[high] == pytest.approx(best.max(), abs=1e-9)


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({"temperature": np.zeros(3, np.float32)}, "above 0"),
        ({"temperature": np.ones(2, np.float32)}, "3 finite"),
        ({"value_scale": np.array([1, 1, -1], np.float32)}, "above 0"),
        ({"value_shift": np.array([0, np.nan, 0], np.float32)}, "3 finite"),
    ],
)
def test_tables_that_do_not_fit_are_refused(package: Package, tables: Arrays, problem: str) -> None:
    with pytest.raises(PackageError, match=problem):
        build(widths(package, tables=tables))


def test_stages_that_do_not_fit_are_refused(package: Package) -> None:
    with pytest.raises(PackageError, match="must rise"):
        build(widths(package, macs={"look": 1, "narrow": 5, "wide": 5}))
    with pytest.raises(PackageError, match="several last stages"):
        build(dataclasses.replace(package, manifest=package.manifest.model_copy(
            update={"router": package.manifest.router.model_copy(update={"name": "width"})}
        )))  # fmt: skip
