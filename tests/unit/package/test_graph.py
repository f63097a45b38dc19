"""Costs on chains and on branches, by hand."""

from __future__ import annotations

import pytest

from service.package.graph import StageGraph
from service.package.stage import Stage


def stage(name: str, macs: int, *after: str, leaves: str | None = None) -> Stage:
    """A stage as a manifest tells it."""
    made = {"h": "state"} | ({"logits": "answer"} if leaves else {})
    given = {"h": "state"}
    return Stage.model_validate(
        {
            "name": name,
            "graph": f"{name}.onnx",
            "sha256": "0" * 64,
            "macs_per_row": macs,
            "inputs": given,
            "outputs": made,
            "exit": leaves,
            "next": list(after),
        }
    )


CHAIN = StageGraph.of(
    [stage("a", 1, "b"), stage("b", 2, "c", leaves="early"), stage("c", 4, "d"), stage("d", 8, leaves="late")]
)
# a leads to a cheap stage with an exit, or to a dear one without, which may skip c.
BRANCHES = StageGraph.of(
    [
        stage("a", 1, "cheap", "dear"),
        stage("cheap", 10, "c", leaves="cheap"),
        stage("dear", 20, "c", "d"),
        stage("c", 300, "d"),
        stage("d", 4000, leaves="last"),
    ]
)


def test_a_chain_is_told_by_places() -> None:
    assert CHAIN.names == ("a", "b", "c", "d")
    assert CHAIN.macs == (1, 2, 4, 8)
    assert CHAIN.after == ((1,), (2,), (3,), ())
    assert CHAIN.exits == ("early", "late")
    assert CHAIN.exit_of == (-1, 0, -1, 1)


def test_the_full_walk_of_a_chain_runs_everything() -> None:
    assert CHAIN.full_macs == 15


def test_the_full_walk_takes_the_dearest_branch() -> None:
    assert BRANCHES.after == ((1, 2), (3,), (3, 4), (4,), ())
    assert BRANCHES.full_macs == 1 + 20 + 300 + 4000


def test_the_full_walk_begins_at_the_first_stage() -> None:
    graph = StageGraph.of([stage("a", 1, leaves="only"), stage("stray", 100, leaves="never")])
    assert graph.full_macs == 1


def test_the_next_exit_of_a_chain() -> None:
    assert CHAIN.to_next_exit(CHAIN.macs) == [3, 2, 12, 8]


def test_the_next_exit_is_reached_by_the_cheapest_branch() -> None:
    assert BRANCHES.to_next_exit(BRANCHES.macs) == [11, 10, 4020, 4300, 4000]


@pytest.mark.parametrize(("through_cheap", "expected"), [(0.5, 0.6), (9.0, 5.1)])
def test_what_is_cheapest_depends_on_the_unit(through_cheap: float, expected: float) -> None:
    seconds = [0.1, through_cheap, 2.0, 1.0, 3.0]
    assert BRANCHES.to_next_exit(seconds)[0] == pytest.approx(expected)
