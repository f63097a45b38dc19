"""Which knob a price stands for."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from service.core import CHEAPEST, FULL
from service.errors import PackageError
from service.package.load import Package, load
from service.routing.knobs import Knobs

INF = float("inf")


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


def with_tables(package: Package, **tables: NDArray[np.float64] | None) -> Package:
    return dataclasses.replace(package, tables={name: table for name, table in tables.items() if table is not None})


def test_a_knob_holds_from_its_price_to_the_next(package: Package) -> None:
    tables = {"knob_prices": np.array([-INF, 0.0, 2.0]), "knobs": np.array([0.1, 0.5, 0.9])}
    knobs = Knobs.of(with_tables(package, **tables))
    turned = knobs.at(np.array([FULL, -1.0, 0.0, 1.99, 2.0, 50.0, CHEAPEST]))
    assert turned.dtype == np.float32
    assert turned.tolist() == np.array([0.1, 0.1, 0.5, 0.5, 0.9, 0.9, 0.9], np.float32).tolist()


@pytest.mark.parametrize(
    ("prices", "values", "problem"),
    [
        (None, [0.5], "missing"),
        ([-INF], None, "missing"),
        ([-INF, 1.0], [0.5], "one length"),
        ([], [], "one length"),
        ([0.0, 1.0], [0.1, 0.2], "rise strictly from -inf"),
        ([-INF, 1.0, 1.0], [0.1, 0.2, 0.3], "rise strictly"),
        ([-INF, 1.0], [0.1, float("nan")], "each with a knob"),
    ],
)
def test_tables_that_are_no_step_function_are_refused(
    package: Package, prices: list[float] | None, values: list[float] | None, problem: str
) -> None:
    tables = {
        name: None if given is None else np.array(given) for name, given in [("knob_prices", prices), ("knobs", values)]
    }
    with pytest.raises(PackageError, match=problem):
        Knobs.of(with_tables(package, **tables))
