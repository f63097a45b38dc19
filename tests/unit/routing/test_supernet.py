"""Branches by a gate: by hand, at the ends of the price path, and for any answers."""

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
from service.routing.base import LEAVE, build
from service.routing.supernet import Supernet, lead

Arrays = dict[str, NDArray[Any]]
TRUNK, WARM, COLD, GENERAL = range(4)
MACS = {"trunk": 20, "warm": 5, "cold": 5, "general": 30}
# Of the three labels the first is warm, the others are cold. Two bins of the margin, parted at 0.5.
TABLES: Arrays = {
    "temperature": np.ones(4, np.float32),
    "branch_of": np.array([0, 1, 1], np.int16),
    "gate_margin": np.array([0.2], np.float32),
    "trunk_edges": np.tile(np.array([0.0, 0.5, 1.0], np.float32), (3, 1)),
    "trunk_worth": np.array([[9.0, 1.0], [8.0, 2.0], [7.0, 3.0]]),
    "branch_edges": np.tile(np.array([0.0, 0.5, 1.0], np.float32), (2, 1)),
    "branch_worth": np.array([[5.0, 0.0], [4.0, 0.5]]),
}


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


def supernet(package: Package, *, macs: Mapping[str, int] = MACS, tables: Mapping[str, Any] | None = None) -> Package:
    """The package with these stages, whatever its graphs are: routers see none of them."""
    after = {"trunk": ["warm", "cold", "general"], "warm": ["general"], "cold": ["general"], "general": []}
    stages = [
        {
            "name": name,
            "graph": "glance.onnx",
            "sha256": "0" * 64,
            "macs_per_row": cost,
            "inputs": {"image": {"glimpse": "image", "height": 8, "width": 8}} if name == "trunk" else {"x": "state"},
            "outputs": {"logits": "answer"} | ({"x": "state"} if after[name] else {}),
            "exit": f"{name}-exit",
            "next": after[name],
        }
        for name, cost in macs.items()
    ]
    manifest = package.manifest.model_dump() | {"stages": stages, "router": {"name": "supernet"}}
    valid = Manifest.model_validate(manifest)
    return dataclasses.replace(
        package, manifest=valid, graph=StageGraph.of(valid.stages), tables=TABLES | dict(tables or {})
    )


@pytest.fixture(scope="module")
def router(package: Package) -> Supernet:
    made = build(supernet(package))
    assert isinstance(made, Supernet)
    return made


def told(*shares: float, rows: int = 1) -> Arrays:
    """Logits of these probabilities."""
    return {"logits": np.tile(np.log(np.array(shares, np.float32)), (rows, 1))}


def test_the_branch_that_knows_the_likeliest_classes_is_taken(router: Supernet) -> None:
    # The single likeliest class is warm, but the cold ones together are likelier.
    routing = router.route(TRUNK, told(0.35, 0.33, 0.32), np.array([0.0]))
    assert routing.next.tolist() == [COLD]
    assert routing.signals is not None
    assert routing.signals["gate"][0] == pytest.approx([0.35, 0.65])
    assert routing.signals["margin"][0] == pytest.approx(0.02, abs=1e-6)
    assert router.route(TRUNK, told(0.7, 0.2, 0.1), np.array([0.0])).next.tolist() == [WARM]


def test_an_unsure_gate_sends_to_the_general_branch_and_the_full_walk_takes_every_vote(router: Supernet) -> None:
    routing = router.route(TRUNK, told(0.46, 0.5, 0.04, rows=4), np.array([FULL, 0.0, 6.9, CHEAPEST]))
    assert routing.next.tolist() == [COLD, GENERAL, GENERAL, LEAVE]
    assert routing.worth is not None
    assert routing.worth.tolist() == [7.0] * 4


def test_a_walk_goes_on_where_the_margin_is_small_and_the_price_allows(router: Supernet) -> None:
    routing = router.route(WARM, told(0.5, 0.45, 0.05, rows=3), np.array([FULL, 4.9, 5.0]))
    assert routing.next.tolist() == [GENERAL, GENERAL, LEAVE]
    assert router.route(COLD, told(0.9, 0.05, 0.05, rows=2), np.array([0.4, 0.5])).next.tolist() == [GENERAL, LEAVE]
    assert router.route(WARM, told(0.9, 0.05, 0.05, rows=2), np.array([FULL, 0.0])).next.tolist() == [GENERAL, LEAVE]


def test_the_general_branch_leads_nowhere(router: Supernet) -> None:
    routing = router.route(GENERAL, told(0.5, 0.4, 0.1), np.array([FULL]))
    assert routing.next.tolist() == [LEAVE]
    assert routing.worth is not None
    assert routing.worth.tolist() == [-np.inf]


def test_the_lead_is_that_of_the_largest_over_the_second() -> None:
    assert lead(np.array([[0.1, 0.6, 0.3], [0.5, 0.0, 0.5]])) == pytest.approx([0.3, 0.0])


logits = st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3)


@settings(max_examples=60)
@given(st.lists(logits, min_size=4, max_size=4), st.tuples(st.floats(-1, 10), st.floats(-1, 10)))
def test_a_higher_price_never_makes_a_dearer_walk(
    router: Supernet, rows: list[list[float]], prices: tuple[float, float]
) -> None:
    def cost(price: float) -> int:
        stage, spent = TRUNK, 0
        while stage != LEAVE:
            spent += list(MACS.values())[stage]
            answer = {"logits": np.array([rows[stage]], np.float32)}
            stage = int(router.route(stage, answer, np.array([price])).next[0])
        return spent

    assert cost(CHEAPEST) == 20
    assert cost(CHEAPEST) <= cost(max(prices)) <= cost(min(prices)) <= cost(FULL)
    assert cost(FULL) == 55


@pytest.mark.parametrize(
    ("tables", "problem"),
    [
        ({"temperature": np.array([1, 1, 1, 0], np.float32)}, "above 0"),
        ({"branch_of": np.array([0, 1, 2], np.int16)}, "0..1"),
        ({"gate_margin": np.array([np.nan], np.float32)}, "0 or above"),
        ({"trunk_worth": np.array([[9.0, 1.0], [8.0, 2.0], [7.0, -3.0]])}, "not below 0"),
        ({"branch_worth": np.array([[5.0, np.inf], [4.0, 0.5]])}, "finite"),
        ({"branch_edges": np.tile(np.array([0.0, 0.5, 0.4], np.float32), (2, 1))}, "not fall"),
        ({"branch_edges": np.zeros((2, 4), np.float32)}, "expected"),
    ],
)
def test_tables_that_do_not_fit_are_refused(package: Package, tables: Arrays, problem: str) -> None:
    with pytest.raises(PackageError, match=problem):
        build(supernet(package, tables=tables))


def test_branches_of_different_cost_are_refused(package: Package) -> None:
    with pytest.raises(PackageError, match="equal cost"):
        build(supernet(package, macs=MACS | {"cold": 6}))
