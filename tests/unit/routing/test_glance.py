"""Where to look next: the ranking, its boxes, and what a package has to hold for it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from service.core import CHEAPEST, FULL
from service.errors import PackageError
from service.package.graph import StageGraph
from service.package.load import Package, load
from service.package.manifest import Manifest
from service.routing.base import LEAVE, build
from service.routing.glance import Glance, overlaps, ranked

Arrays = dict[str, NDArray[Any]]
BOXES = np.array([[0, 0, 0.5, 0.5], [0.05, 0.05, 0.55, 0.55], [0.5, 0.5, 1, 1], [0, 0, 1, 1]], np.float32)
TABLES: Arrays = {
    "temperature": np.ones(3, np.float32),
    "gain_edges": np.tile(np.array([0.5, 0.9, 1.0], np.float32), (2, 1)),
    "gain": np.array([[[0, 0], [0.2, 0.0], [0.3, 0.0]], [[0, 0], [0, 0], [0.1, 0.0]]], np.float32),
    "exit_macs": np.array([10_000_000, 20_000_000, 30_000_000]),
    "boxes": BOXES,
}


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


def looking(package: Package, *, tables: Mapping[str, Any] | None = None, where: str = "where") -> Package:
    """The package as a glance and two laps of a focus, whatever its graphs are: routers see none of them."""
    state = {"evidence": {"state": "evidence"}, "where_in": {"state": "where"}}
    look = {
        "graph": "look.onnx",
        "sha256": "0" * 64,
        "macs_per_row": 10_000_000,
        "outputs": {"told": {"state": "evidence"}, "where": {"state": "where"}, "logits": "answer"},
        "next": ["focus"],
    }
    whole, part = ({"glimpse": kind, "height": 8, "width": 8} for kind in ("image", "crop"))
    stages = [
        look | {"name": "glance", "exit": "glance", "inputs": {"image": whole, **state}},
        look | {"name": "focus", "exit": "focus", "inputs": {"image": part, **state}},
    ]
    router = {"name": "glance", "parameters": {"where": where}}
    changed = {"stages": stages, "laps": 2, "zeros": ["evidence", "where"], "router": router}
    valid = Manifest.model_validate(package.manifest.model_dump() | changed)
    graph = StageGraph.of(valid.stages, valid.laps)
    return dataclasses.replace(package, manifest=valid, graph=graph, tables=TABLES | dict(tables or {}))


@pytest.fixture(scope="module")
def router(package: Package) -> Glance:
    made = build(looking(package))
    assert isinstance(made, Glance)
    return made


def seen(*scores: list[float], sure: float = 0.0) -> Arrays:
    logits = np.tile(np.array([sure, 0.0], np.float32), (len(scores), 1))
    return {"where": np.array(scores, np.float32), "logits": logits}


def test_looks_go_down_the_ranking_and_leave_out_what_overlaps(router: Glance) -> None:
    outputs = seen([3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0])
    first = router.route(0, outputs, np.zeros(2))
    second = router.route(1, outputs, np.zeros(2))
    assert first.next.tolist() == [1, 1]
    assert second.next.tolist() == [2, 2]
    assert first.look is not None
    assert second.look is not None
    np.testing.assert_array_equal(first.look[0], BOXES[[0]])
    np.testing.assert_array_equal(second.look[0], BOXES[[2]])
    np.testing.assert_array_equal(first.look[1], BOXES[[3]])
    assert first.signals is not None
    assert first.signals["where"].tolist() == [3.0, 3.0]


def test_whoever_leaves_looks_nowhere(router: Glance) -> None:
    routing = router.route(0, seen([3.0, 2.0, 1.0, 0.0], sure=9.0), np.array([1.0]))
    assert routing.next.tolist() == [LEAVE]
    assert routing.look == [None]


def test_the_ends_of_the_price_path_are_all_looks_and_one(router: Glance) -> None:
    outputs = seen([1.0, 2.0, 3.0, 4.0])
    assert router.route(0, outputs, np.array([FULL])).next.tolist() == [1]
    assert router.route(1, outputs, np.array([FULL])).next.tolist() == [2]
    assert router.route(2, outputs, np.array([FULL])).next.tolist() == [LEAVE]
    assert router.route(0, outputs, np.array([CHEAPEST])).next.tolist() == [LEAVE]


def test_overlap_is_intersection_over_union() -> None:
    shares = overlaps(BOXES)
    np.testing.assert_allclose(np.diag(shares), 1.0)
    np.testing.assert_allclose(shares[0, 1], 0.2025 / 0.2975, rtol=1e-5)
    assert shares[0, 2] == 0.0


@given(arrays.arrays(np.float32, (5, 4), elements=st.floats(-50, 50, width=32)), st.integers(1, 4))
def test_no_candidate_is_chosen_twice(scores: NDArray[np.float32], count: int) -> None:
    chosen = ranked(scores, overlaps(BOXES) > 0.4, count)
    assert all(len(set(row)) == count for row in chosen.tolist())
    np.testing.assert_array_equal(chosen[:, 0], scores.argmax(axis=1))
    np.testing.assert_array_equal(ranked(scores, overlaps(BOXES) > 0.4, 4)[:, :count], chosen)


@pytest.mark.parametrize(
    ("boxes", "problem"),
    [
        (np.empty((0, 4), np.float32), "shape"),
        (BOXES[:, :3], "shape"),
        (BOXES[:, [2, 3, 0, 1]], "no boxes"),
        (BOXES * 2, "no boxes"),
    ],
)
def test_tables_that_are_no_boxes_are_refused(package: Package, boxes: NDArray[np.float32], problem: str) -> None:
    with pytest.raises(PackageError, match=problem):
        build(looking(package, tables={"boxes": boxes}))


def test_the_scores_have_to_be_an_output_of_every_stage(package: Package) -> None:
    with pytest.raises(PackageError, match="no output 'elsewhere'"):
        build(looking(package, where="elsewhere"))
