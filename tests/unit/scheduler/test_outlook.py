"""What walkers are expected to run from where they stand, on a chain and on a graph with ways to choose from."""

from __future__ import annotations

import numpy as np

from service.package.graph import StageGraph
from service.package.record import Record
from service.scheduler.outlook import Outlook

INF = float("inf")
# Stage 0 leads to 1, which leads to 2, or straight to 2; 2 to the cheap or the dear end.
GRAPH = StageGraph(
    names=("a", "b", "c", "cheap", "dear"),
    macs=(1, 2, 3, 4, 50),
    after=((1, 2), (2,), (3, 4), (), ()),
    exits=("cheap", "dear"),
    exit_of=(-1, -1, -1, 0, 1),
    full_macs=56,
)
ROUTES = np.array([[1, 1, 1, 0, 1], [1, 0, 1, 0, 1], [1, 0, 1, 1, 0]], np.uint8)


def record(route: list[list[int]]) -> Record:
    ways = np.array(route, np.int16)
    macs = ROUTES[ways].astype(np.int64) @ np.array(GRAPH.macs)
    prices = np.array([-INF, *range(len(route) - 2), INF], np.float64)
    return Record(prices, np.zeros(4, np.int16), np.zeros_like(ways), ways.astype(np.int8), macs, ROUTES, ways)


OUTLOOK = Outlook.of(record([[0, 0, 0, 0], [0, 1, 2, 2], [2, 2, 2, 2]]), GRAPH)


def test_from_the_start_a_stage_is_run_as_often_as_the_record_ran_it() -> None:
    assert OUTLOOK.reach[1, 0].tolist() == [1.0, 0.25, 1.0, 0.5, 0.5]


def test_who_came_further_is_of_those_who_came_so_far() -> None:
    assert OUTLOOK.reach[1, 1].tolist() == [0.0, 1.0, 1.0, 0.0, 1.0]
    assert OUTLOOK.reach[1, 2].tolist() == [0.0, 0.0, 1.0, 0.5, 0.5]
    assert OUTLOOK.reach[1, 4].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]


def test_where_nobody_comes_the_shortest_way_out_is_expected() -> None:
    assert OUTLOOK.reach[2, 1].tolist() == [0.0, 1.0, 1.0, 1.0, 0.0]
    assert OUTLOOK.reach[2, 4].tolist() == [0.0, 0.0, 0.0, 0.0, 1.0]


def test_work_never_rises_with_the_price() -> None:
    work = OUTLOOK.seconds(GRAPH.macs)
    assert (np.diff(work, axis=0) <= 0).all()
    assert work[:, 0].tolist() == [56.0, (56 + 54 + 8 + 8) / 4, 8.0]


def test_the_shortest_way_ends_at_an_exit() -> None:
    assert GRAPH.cheapest_way(0) == [0, 2, 3]
    assert GRAPH.cheapest_way(4) == [4]
    assert (GRAPH.chain, GRAPH.anytime) == (False, False)
