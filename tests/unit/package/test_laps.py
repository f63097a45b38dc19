"""Loops laid out by hand: names, ways on, and what is refused."""

from __future__ import annotations

import pytest

from service.package.graph import StageGraph
from service.package.laps import body, numbered, unrolled
from service.package.stage import Stage
from tests.unit.package.test_graph import stage

# scan goes round with an optional fine step; sum comes last.
LOOP: list[Stage] = [
    stage("begin", 1, "scan"),
    stage("scan", 10, "fine", "scan", "sum", leaves="coarse"),
    stage("fine", 100, "scan", "sum", leaves="fine"),
    stage("sum", 1000, leaves="sum"),
]


def test_the_body_is_what_lies_between_the_way_back_and_its_target() -> None:
    assert list(body(LOOP)) == [1, 2]
    assert list(body(LOOP[3:])) == []


def test_a_way_back_leads_to_the_next_lap_and_is_gone_in_the_last() -> None:
    ways = {place.name: place.next for place in unrolled(LOOP, 2)}
    assert ways == {
        "begin": ("scan1",),
        "scan1": ("fine1", "scan2", "sum"),
        "fine1": ("scan2", "sum"),
        "scan2": ("fine2", "sum"),
        "fine2": ("sum",),
        "sum": (),
    }


def test_places_share_their_stage() -> None:
    graph = StageGraph.of(LOOP, 3)
    assert graph.kinds == ("begin", "scan", "fine", "scan", "fine", "scan", "fine", "sum")
    assert graph.stage_of == (0, 1, 2, 1, 2, 1, 2, 3)
    assert graph.lap_of == (0, 1, 1, 2, 2, 3, 3, 0)
    assert graph.exits == ("coarse1", "fine1", "coarse2", "fine2", "coarse3", "fine3", "sum")
    assert graph.full_macs == 1 + 3 * 110 + 1000
    assert graph.first_place(2) == 2


@pytest.mark.parametrize(("name", "lap", "shown"), [("read", 0, "read"), ("read", 12, "read12"), ("b1", 2, "b1-2")])
def test_laps_are_told_from_names_that_end_in_digits(name: str, lap: int, shown: str) -> None:
    assert numbered(name, lap) == shown
