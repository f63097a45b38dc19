"""Climbing: in steps or straight, for scores and prices; and what a package has to hold for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.core import CHEAPEST, FULL
from service.errors import PackageError
from service.package.graph import StageGraph
from service.package.load import Package, load
from service.package.manifest import Manifest
from service.routing.base import LEAVE, build
from service.routing.resolution import Resolution, dearest

Arrays = dict[str, NDArray[Any]]
SIZES = {"look32": 10_000_000, "look64": 40_000_000, "look96": 90_000_000}
TABLES: Arrays = {
    "temperature": np.ones(3, np.float32),
    "score_edges": np.tile(np.array([0.5, 0.8, 1.0], np.float32), (3, 1)),
    "knot_prices": np.array([-np.inf, 0.0, 1.0]),
    "choice": np.array([[[1, 1], [2, 2], [-1, -1]], [[2, 2], [2, 2], [-1, -1]], [[1, 1], [2, 2], [-1, -1]]], np.int16),
    "leave_price": np.array([[4.0, 0.5], [2.0, 0.0], [-np.inf, -np.inf]]),
}


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


def climbing(package: Package, *, tables: Mapping[str, Any] | None = None) -> Package:
    """The package with looks at three sizes by one graph."""
    names = list(SIZES)
    stages = [
        {
            "name": name,
            "graph": "look.onnx",
            "sha256": "0" * 64,
            "macs_per_row": cost,
            "inputs": {
                "image": {"glimpse": "image", "height": int(name[4:]), "width": int(name[4:])},
                "evidence": {"state": "evidence"},
            },
            "outputs": {"kept": {"state": "evidence"}, "logits": "answer"},
            "exit": f"at-{name}",
            "next": names[names.index(name) + 1 :],
        }
        for name, cost in SIZES.items()
    ]
    changed = {"stages": stages, "zeros": ["evidence"], "router": {"name": "resolution"}}
    valid = Manifest.model_validate(package.manifest.model_dump() | changed)
    graph = StageGraph.of(valid.stages, valid.laps)
    return dataclasses.replace(package, manifest=valid, graph=graph, tables=TABLES | dict(tables or {}))


@pytest.fixture(scope="module")
def router(package: Package) -> Resolution:
    made = build(climbing(package))
    assert isinstance(made, Resolution)
    return made


def seen(*scores: float) -> Arrays:
    return {"logits": np.array([[np.log(score / (1 - score)), 0.0] for score in scores], np.float32)}


def test_price_and_score_choose_the_step(router: Resolution) -> None:
    unsure, sure = 0.6, 0.95
    prices = np.array([FULL, 0.0, 0.9, 1.0, 3.9, 4.0])
    assert router.route(0, seen(*[unsure] * 6), prices).next.tolist() == [1, 2, 2, 1, 1, LEAVE]
    assert router.route(0, seen(*[sure] * 3), np.array([0.0, 0.4, 0.5])).next.tolist() == [2, 2, LEAVE]


def test_the_ends_of_the_price_path(router: Resolution) -> None:
    for stage, after in enumerate([1, 2, LEAVE]):
        assert router.route(stage, seen(0.99), np.array([FULL])).next.tolist() == [after]
        assert router.route(stage, seen(0.51), np.array([CHEAPEST])).next.tolist() == [LEAVE]


def test_worth_is_the_price_at_which_a_walk_leaves(router: Resolution) -> None:
    routing = router.route(0, seen(0.6, 0.95), np.zeros(2))
    assert routing.worth is not None
    assert routing.worth.tolist() == [4.0, 0.5]
    assert routing.score is not None
    np.testing.assert_allclose(routing.score, [0.6, 0.95], rtol=1e-5)


def test_the_dearest_way_goes_by_every_size(package: Package) -> None:
    assert dearest(climbing(package).graph) == [1, 2, LEAVE]


@pytest.mark.parametrize(
    ("name", "values", "problem"),
    [
        ("temperature", np.zeros(3, np.float32), "above 0"),
        ("temperature", np.ones(2, np.float32), "shape"),
        ("score_edges", TABLES["score_edges"][:, ::-1], "must not fall"),
        ("knot_prices", np.array([0.0, 1.0, 2.0]), "rise strictly from -inf"),
        ("choice", np.zeros((3, 3, 2), np.int16), "stages that may follow"),
        ("choice", TABLES["choice"][[1, 1, 2]], "the dearest ones"),
        ("leave_price", np.full((3, 2), np.nan), "needs numbers"),
        ("leave_price", np.empty((3, 0)), "shape"),
    ],
)
def test_tables_that_do_not_fit_are_refused(package: Package, name: str, values: NDArray[Any], problem: str) -> None:
    with pytest.raises(PackageError, match=problem):
        build(climbing(package, tables={name: values}))
