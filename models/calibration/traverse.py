"""Walks of a whole split through the exported stages, at every price of a path, by the very router that will serve.

Walks of one sample that have taken the same way so far share their state: each stage is run once for all the prices
that lead there by that way, so a path of many prices costs little more than its different routes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.export import run, session
from service.package.graph import StageGraph
from service.package.manifest import Manifest
from service.routing.base import LEAVE, Router

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Traversal:
    """n walks at each of P prices.

    Attributes:
        predictions: int16 [P, n], arg-max of the answer given.
        exits: int8 [P, n], index among the graph's exits.
        macs: int64 [P, n].
        routes: uint8 [R, S], how often each of R different walks runs each stage.
        route: int16 [P, n], which of them a walk is.
        answers: float32 [P, n, classes], the calibrated answer given.
    """

    predictions: NDArray[np.int16]
    exits: NDArray[np.int8]
    macs: NDArray[np.int64]
    routes: NDArray[np.uint8]
    route: NDArray[np.int16]
    answers: NDArray[np.float32]

    @property
    def scores(self) -> NDArray[np.float32]:
        """float32 [P, n], the probability of the class answered."""
        return np.asarray(self.answers.max(axis=2))

    def record(self, prices: NDArray[np.float64], labels: NDArray[np.integer]) -> dict[str, NDArray[Any]]:
        """The arrays of a calibration record (docs/packages.md)."""
        return {
            "prices": prices,
            "labels": labels.astype(np.int16),
            "predictions": self.predictions,
            "exits": self.exits,
            "macs": self.macs,
            "routes": self.routes,
            "route": self.route,
        }


@dataclass(frozen=True)
class Stages:
    """Exported stages with a session each, in walking order."""

    manifest: Manifest
    graph: StageGraph
    sessions: Sequence[Any]

    @classmethod
    def of(cls, manifest: Manifest, folder: Path) -> "Stages":
        """The stages whose graphs stand in `folder`."""
        sessions = [session(folder / stage.graph, threads=2) for stage in manifest.stages]
        return cls(manifest, StageGraph.of(manifest.stages), sessions)


@dataclass
class _Party:
    """Walks that stand at one stage with the same state: `sample` int [rows], `at` bool [rows, P] their prices."""

    sample: NDArray[np.int64]
    at: NDArray[np.bool_]
    ran: NDArray[np.uint8]
    state: dict[str, NDArray[Any]]


def traverse(
    stages: Stages, router: Router, inputs: Arrays, prices: NDArray[np.float64], *, batch: int = 250
) -> Traversal:
    """Walk a split at every price.

    Args:
        stages: of the package.
        router: built for it.
        inputs: what the first stage's glimpses would be, by graph input, [n, ...].
        prices: float64 [P].
        batch: samples that walk together.
    """
    n, classes = len(next(iter(inputs.values()))), _classes(stages)
    made = _Made.empty(len(prices), n, len(stages.graph.names), classes)
    for start in range(0, n, batch):
        rows = np.arange(start, min(start + batch, n))
        _walk(stages, router, {name: array[rows] for name, array in inputs.items()}, prices, rows, made)
    return made.traversal(stages.graph)


@dataclass(frozen=True)
class _Made:
    """Filled in while the walks end."""

    exits: NDArray[np.int8]
    ran: NDArray[np.uint8]
    answers: NDArray[np.float32]

    @classmethod
    def empty(cls, prices: int, n: int, stages: int, classes: int) -> "_Made":
        return cls(
            np.full((prices, n), -1, np.int8),
            np.zeros((prices, n, stages), np.uint8),
            np.zeros((prices, n, classes), np.float32),
        )

    def traversal(self, graph: StageGraph) -> Traversal:
        prices, n, stages = self.ran.shape
        routes, route = np.unique(self.ran.reshape(-1, stages), axis=0, return_inverse=True)
        macs = self.ran.astype(np.int64) @ np.array(graph.macs, np.int64)
        return Traversal(
            predictions=self.answers.argmax(axis=2).astype(np.int16),
            exits=self.exits,
            macs=macs,
            routes=routes,
            route=route.reshape(prices, n).astype(np.int16),
            answers=self.answers,
        )


def _walk(
    stages: Stages, router: Router, inputs: Arrays, prices: NDArray[np.float64], rows: NDArray[np.int64], made: _Made
) -> None:
    count = len(stages.graph.names)
    start = _Party(rows, np.ones((len(rows), len(prices)), bool), np.zeros((len(rows), count), np.uint8), dict(inputs))
    waiting: dict[int, list[_Party]] = {0: [start]}
    for stage in range(count):
        parties = waiting.pop(stage, [])
        if parties:
            for after, party in _step(stages, router, stage, _joined(parties), prices, made):
                waiting.setdefault(after, []).append(party)


def _step(
    stages: Stages, router: Router, stage: int, party: _Party, prices: NDArray[np.float64], made: _Made
) -> Iterator[tuple[int, _Party]]:
    """Run a stage and split the party by where its walks go on to; those that leave are written down."""
    outputs = _run(stages, stage, party.state)
    party.ran[:, stage] += 1
    # One routing for all prices: a row for each walk, that is for each (row, price) in the party.
    row, price = np.nonzero(party.at)
    routing = router.route(stage, _Repeated(outputs, row), prices[price])
    leaves = routing.next == LEAVE
    if leaves.any() and routing.answer is not None:
        gone, at = party.sample[row[leaves]], price[leaves]
        made.exits[at, gone] = stages.graph.exit_of[stage]
        made.ran[at, gone] = party.ran[row[leaves]]
        made.answers[at, gone] = routing.answer[leaves]
    held = party.state | outputs
    for after in np.unique(routing.next[~leaves]).tolist():
        chosen = routing.next == after
        at = np.zeros_like(party.at)
        at[row[chosen], price[chosen]] = True
        some = np.flatnonzero(at.any(axis=1))
        state = {name: held[name][some] for name in _asked_from(stages, after) & set(held)}
        yield after, _Party(party.sample[some], at[some], party.ran[some], state)


@dataclass(frozen=True)
class _Repeated(Mapping[str, NDArray[Any]]):
    """A stage's outputs with a row for each walk, made for those that the router looks at: maps are large."""

    outputs: Arrays
    row: NDArray[np.int64]

    def __getitem__(self, name: str) -> NDArray[Any]:
        return np.asarray(self.outputs[name][self.row])

    def __iter__(self) -> Iterator[str]:
        return iter(self.outputs)

    def __len__(self) -> int:
        return len(self.outputs)


def _run(stages: Stages, stage: int, state: Arrays, rows: int = 500) -> dict[str, NDArray[Any]]:
    names = list(stages.manifest.stages[stage].inputs)
    total = len(state[names[0]])
    parts = [
        run(stages.sessions[stage], {name: state[name][start : start + rows] for name in names})
        for start in range(0, total, rows)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _joined(parties: Sequence[_Party]) -> _Party:
    """Parties that meet at a stage."""
    if len(parties) == 1:
        return parties[0]
    shared = set(parties[0].state).intersection(*(party.state for party in parties))
    return _Party(
        np.concatenate([party.sample for party in parties]),
        np.concatenate([party.at for party in parties]),
        np.concatenate([party.ran for party in parties]),
        {name: np.concatenate([party.state[name] for party in parties]) for name in shared},
    )


def _asked_from(stages: Stages, stage: int) -> set[str]:
    """State that a walk before this stage may still ask for."""
    return {name for each in stages.manifest.stages[stage:] for name, kind in each.inputs.items() if kind == "state"}


def _classes(stages: Stages) -> int:
    place = next(place for place, stage in enumerate(stages.manifest.stages) if stage.answer)
    ports = stages.sessions[place].get_outputs()
    return next(int(port.shape[1]) for port in ports if port.name == stages.manifest.stages[place].answer)
