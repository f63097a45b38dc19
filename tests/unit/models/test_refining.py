"""Tables and prices of refining routers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from models.calibration.refining import MENU, Arrays, Graphs, Level, Refined, Sample, fit_gain, prices_for, route
from service.core import CHEAPEST, FULL
from service.package.graph import StageGraph
from service.routing.base import LEAVE, Routing


def test_the_gain_rises_with_the_doubt() -> None:
    rng = np.random.default_rng(0)
    doubt = rng.random(4000)
    edges, gain = fit_gain(doubt, 0.01 * doubt**2 + rng.normal(0, 0.001, 4000), 10)
    assert np.all(np.diff(edges) > 0)
    assert np.all(np.diff(gain) >= 0)
    assert abs(gain[-1] - 0.009) < 0.001


@given(st.integers(0, 2**32 - 1))
def test_a_table_of_noise_is_still_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    edges, gain = fit_gain(rng.random(40), rng.normal(0, 1, 40), 8)
    assert (edges.shape, gain.shape) == ((9,), (8,))
    assert np.all(np.diff(gain) >= 0)
    assert np.all(gain >= 0)


def test_prices_rise_from_full_to_cheapest() -> None:
    prices = prices_for([np.linspace(0, 0.01, 40), np.linspace(0, 1e-3, 9)], [10_000_000, 2_000_000])
    assert len(prices) <= MENU
    assert (prices[0], prices[1], prices[-1]) == (FULL, 0.0, CHEAPEST)
    assert np.all(np.diff(prices) > 0)
    assert prices_for([np.zeros(4)], [10]).tolist() == [FULL, 0.0, CHEAPEST]


def test_a_record_tells_routes_and_macs() -> None:
    graph = StageGraph(("a", "b", "c"), (10, 2, 5), ((1,), (2,), ()), ("x", "y"), (0, -1, 1), 25, rows=(1, 5, 1))
    counts = np.array([[5, 5], [0, 3], [0, 0]])
    shares = np.ones((3, 2), np.float32)
    rows = np.stack([np.ones_like(counts), counts, counts > 0], axis=-1)
    made = Refined(rows, shares, shares, []).record(np.array([FULL, 1.0, CHEAPEST]), graph)
    assert made["macs"].tolist() == [[25, 25], [10, 21], [10, 10]]
    assert made["exits"].tolist() == [[1, 1], [0, 1], [0, 0]]
    assert made["routes"][made["route"][1, 1]].tolist() == [1, 3, 1]


class _Doubling(Graphs):
    """Two levels over numbers: a part doubles what it is told, and what is put in place is added up."""

    def __init__(self) -> None:
        super().__init__(Path(), "first", (Level("a", "b", "x"), Level("c", "d", "y", told=("more",), places=None)))
        self.ran: list[tuple[str, int]] = []

    def run(self, stage: str, state: Mapping[str, NDArray[Any]]) -> Arrays:
        if stage == "first":
            return {"told": state["image"], "places": np.zeros((1, 4, 1), np.float32), "answer": np.zeros(1)}
        if stage in {"a", "c"}:
            level = self.levels[stage == "c"]
            self.ran.append((stage, len(state[level.told[0]])))
            return {level.rows: 2 * state[level.told[0]] + state.get("shown", 0.0)}
        rows = state["x" if stage == "b" else "y"]
        return {"answer": state["answer"] + rows.sum(axis=1), "more": state["told"] * 10}


class _Numbers:
    def __len__(self) -> int:
        return 1

    def first(self, sample: int) -> Arrays:
        return {"image": np.arange(4, dtype=np.float32)[None] + sample}

    def parts(self, sample: int, places: NDArray[np.float32]) -> Arrays:
        return {"shown": places[:, 0] + 100.0}


def test_parts_are_run_once_and_put_in_place_by_level() -> None:
    graphs = _Doubling()
    sample = Sample(graphs, _Numbers(), 0)
    some, all_four = np.array([3, 1]), np.arange(4)
    assert sample.after(some)["answer"].tolist() == [2 * (3 + 1) + 200]
    assert sample.after(all_four)["answer"].tolist() == [2 * 6 + 400]
    assert sample.after(some, np.array([2]))["answer"].tolist() == [208 + 40]
    assert sample.after(some, np.array([0, 2]))["answer"].tolist() == [208 + 40]
    assert graphs.ran == [("a", 2), ("a", 2), ("c", 1), ("c", 1)]
    sample.after(some)
    assert len(graphs.ran) == 4


class _ByPrice:
    """As many parts of the first level as the price says, and one of the second below 2."""

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        count = int(prices[0]) if stage == 0 else int(prices[0] < 2)
        return Routing(np.array([stage + 1 if count else LEAVE], np.int16), picks=[np.arange(count)] if count else None)


@pytest.mark.parametrize(("price", "counts"), [(0.0, []), (1.0, [1, 1]), (3.0, [3])])
def test_a_walk_goes_from_level_to_level_until_it_leaves(price: float, counts: list[int]) -> None:
    graphs = _Doubling()
    picks = route(_ByPrice(), graphs, Sample(graphs, _Numbers(), 0), np.array([price]))
    assert [len(some) for some in picks] == counts
