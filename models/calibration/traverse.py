"""Walks of a whole split through the exported stages, at every price of a path, by the very router that will serve.

Walks of one sample that have taken the same way so far share their state: each stage is run once for all the prices
that lead there by that way, so a path of many prices costs little more than its different routes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration.views import ArrayViews, Views
from models.export import run, session
from service.package.graph import StageGraph
from service.package.manifest import Manifest
from service.package.stage import Stage
from service.routing.base import LEAVE, Router, Routing, straight

Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Traversal:
    """n walks at each of P prices.

    Attributes:
        predictions: int16 [P, n], arg-max of the answer given.
        exits: int8 [P, n], index among the graph's exits.
        macs: int64 [P, n].
        routes: uint16 [R, S], how often each of R different walks runs each place (a ragged one: how many rows).
        route: int32 [P, n], which of them a walk is.
        answers: float32 [P, n, classes], the calibrated answer given, or what `traverse` was told to keep of it.
    """

    predictions: NDArray[np.int16]
    exits: NDArray[np.int8]
    macs: NDArray[np.int64]
    routes: NDArray[np.uint16]
    route: NDArray[np.int32]
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
    """Exported stages with a session each, in walking order; `graph` is over places, with loops unrolled."""

    manifest: Manifest
    graph: StageGraph
    sessions: Sequence[Any]

    @classmethod
    def of(cls, manifest: Manifest, folder: Path) -> "Stages":
        """The stages whose graphs stand in `folder`."""
        opened = {stage.graph: session(folder / stage.graph, threads=2) for stage in manifest.stages}
        graph = StageGraph.of(manifest.stages, manifest.laps)
        return cls(manifest, graph, [opened[stage.graph] for stage in manifest.stages])

    def stage(self, place: int) -> Stage:
        """The stage at a place."""
        return self.manifest.stages[self.graph.stage_of[place]]


Keep = Callable[[NDArray[np.int64], NDArray[np.float32]], NDArray[np.float32]]
"""What is kept of answers [rows, ...] to samples int [rows]: float32 [rows, m]."""


@dataclass
class _Party:
    """Walks that stand at one place with the same state, looks and picks: `sample` int [rows], `at` bool [rows, P]
    their prices.
    """

    sample: NDArray[np.int64]
    at: NDArray[np.bool_]
    ran: NDArray[np.uint16]
    state: dict[str, NDArray[Any]]
    look: list[NDArray[np.float32] | None]
    picks: list[NDArray[np.int64] | None]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Rows that each walk brings, int64 [rows]."""
        return np.array([1 if picks is None else len(picks) for picks in self.picks], np.int64)


def traverse(
    stages: Stages,
    router: Router,
    inputs: Arrays | Views,
    prices: NDArray[np.float64],
    *,
    batch: int = 250,
    keep: Keep | None = None,
) -> Traversal:
    """Walk a split at every price.

    Args:
        stages: of the package.
        router: built for it.
        inputs: where the glimpses are; arrays [n, ...] by graph input for a package that looks once.
        prices: float64 [P].
        batch: samples that walk together.
        keep: what of each answer is wanted, where the answers of a whole split are too large to keep.
    """
    views = ArrayViews(inputs) if isinstance(inputs, Mapping) else inputs
    made = _Made.empty(len(prices), len(views), len(stages.graph.names))
    for start in range(0, len(views), batch):
        rows = np.arange(start, min(start + batch, len(views)))
        _Walkers(stages, router, views, prices, made, keep or (lambda _, answers: answers)).walk(rows)
    return made.traversal(stages.graph)


@dataclass
class _Made:
    """Filled in while the walks end."""

    exits: NDArray[np.int8]
    ran: NDArray[np.uint16]
    answers: NDArray[np.float32] | None = None

    @classmethod
    def empty(cls, prices: int, n: int, places: int) -> "_Made":
        return cls(np.full((prices, n), -1, np.int8), np.zeros((prices, n, places), np.uint16))

    def write(self, at: NDArray[np.int64], gone: NDArray[np.int64], answers: NDArray[np.float32]) -> None:
        if self.answers is None:
            self.answers = np.zeros((*self.exits.shape, *answers.shape[1:]), np.float32)
        self.answers[at, gone] = answers

    def traversal(self, graph: StageGraph) -> Traversal:
        assert self.answers is not None, "no walk came to an answer"
        prices, n, places = self.ran.shape
        routes, route = np.unique(self.ran.reshape(-1, places), axis=0, return_inverse=True)
        macs = self.ran.astype(np.int64) @ np.array(graph.macs, np.int64)
        return Traversal(
            predictions=self.answers.argmax(axis=2).astype(np.int16),
            exits=self.exits,
            macs=macs,
            routes=routes,
            route=route.reshape(prices, n).astype(np.int32),
            answers=self.answers,
        )


@dataclass
class _Walkers:
    """Samples that walk together."""

    stages: Stages
    router: Router
    views: Views
    prices: NDArray[np.float64]
    made: _Made
    keep: Keep

    def walk(self, rows: NDArray[np.int64]) -> None:
        """From the first place to every end."""
        count, nowhere = len(self.stages.graph.names), [None] * len(rows)
        all_prices = np.ones((len(rows), len(self.prices)), bool)
        start = _Party(rows, all_prices, np.zeros((len(rows), count), np.uint16), {}, [*nowhere], [*nowhere])
        waiting: dict[int, list[_Party]] = {0: [start]}
        for place in range(count):
            if parties := waiting.pop(place, []):
                for after, party in self._step(place, _joined(parties, self.stages.manifest.zeros)):
                    waiting.setdefault(after, []).append(party)

    def _step(self, place: int, party: _Party) -> Iterator[tuple[int, _Party]]:
        """Run a place and split the party by where its walks go on to; those that leave are written down."""
        graph, stage = self.stages.graph, self.stages.stage(place)
        outputs = self._run(place, party)
        party.ran[:, place] += party.counts.astype(np.uint16)
        held = party.state | {name: outputs[port] for port, name in stage.writes.items()}
        held |= {name: _scattered(party, held, name, outputs[port], stage) for port, name in stage.writes_rows.items()}
        # One routing for all prices: a row for each walk, that is for each (row, price) in the party.
        row, price = np.nonzero(party.at)
        if stage.ragged:
            routing = straight(len(row), graph.after[place][0])
        else:
            routing = self.router.route(place, _Repeated(outputs, row), self.prices[price])
        leaves = routing.next == LEAVE
        if leaves.any() and routing.answer is not None:
            gone, at = party.sample[row[leaves]], price[leaves]
            self.made.exits[at, gone] = graph.exit_of[place]
            self.made.ran[at, gone] = party.ran[row[leaves]]
            self.made.write(at, gone, self.keep(gone, routing.answer[leaves]))
        for after in np.unique(routing.next[~leaves]).tolist():
            chosen = np.flatnonzero(routing.next == after)
            wanted = self._asked_from(after) & set(held)
            yield after, _sent_on(party, routing, chosen, (row, price), {name: held[name] for name in wanted})

    def _run(self, place: int, party: _Party, most: int = 500) -> dict[str, NDArray[Any]]:
        """A stage on all rows of a party, one sample's behind the other's."""
        stage, graph = self.stages.stage(place), self.stages.sessions[self.stages.graph.stage_of[place]]
        given = dict(self.views.view(stage, party.sample, party.look)) if stage.glimpses else {}
        shapes = {port.name: tuple(port.shape[1:]) for port in graph.get_inputs()}
        owner = np.repeat(np.arange(len(party.sample)), party.counts)
        for port, name in stage.reads.items():
            known = party.state.get(name)
            given[port] = np.zeros((len(owner), *shapes[port]), np.float32) if known is None else known[owner]
        picks = np.concatenate([picks for picks in party.picks if picks is not None]) if stage.ragged else None
        for port, name in stage.reads_rows.items():
            known = party.state.get(name)
            given[port] = np.zeros((len(owner), *shapes[port]), np.float32) if known is None else known[owner, picks]
        parts = [
            run(graph, {name: array[start : start + most] for name, array in given.items()})
            for start in range(0, len(owner), most)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _asked_from(self, place: int) -> set[str]:
        """State that a walk before this place may still ask for."""
        stages = [self.stages.stage(each) for each in range(place, len(self.stages.graph.names))]
        return {
            name
            for stage in stages
            for each in (stage.reads, stage.reads_rows, stage.writes_rows)
            for name in each.values()
        }


def _scattered(party: _Party, held: Arrays, name: str, made: NDArray[Any], stage: Stage) -> NDArray[Any]:
    """A state of many rows a sample, with the picked ones as a ragged stage has made them."""
    assert stage.ragged is not None
    whole = (
        held[name].copy() if name in held else np.zeros((len(party.sample), stage.ragged, *made.shape[1:]), made.dtype)
    )
    owner = np.repeat(np.arange(len(party.sample)), party.counts)
    whole[owner, np.concatenate([picks for picks in party.picks if picks is not None])] = made
    return np.asarray(whole)


def _sent_on(
    party: _Party,
    routing: Routing,
    chosen: NDArray[np.int64],
    walks: tuple[NDArray[np.int64], NDArray[np.int64]],
    state: dict[str, NDArray[Any]],
) -> _Party:
    """The walks `chosen` of a routing, to one place; those of one row that look and pick alike stay together."""
    row, price = walks
    groups: dict[tuple[int, bytes, bytes], list[int]] = {}
    for walk in chosen.tolist():
        look, picks = _of(routing.look, walk), _of(routing.picks, walk)
        key = (int(row[walk]), b"" if look is None else look.tobytes(), b"" if picks is None else picks.tobytes())
        groups.setdefault(key, []).append(walk)
    rows = np.array([key[0] for key in groups], np.int64)
    at = np.zeros((len(groups), party.at.shape[1]), bool)
    for place, members in enumerate(groups.values()):
        at[place, price[members]] = True
    firsts = [members[0] for members in groups.values()]
    return _Party(
        sample=party.sample[rows],
        at=at,
        ran=party.ran[rows],
        state={name: array[rows] for name, array in state.items()},
        look=[_of(routing.look, walk) for walk in firsts],
        picks=[_of(routing.picks, walk) for walk in firsts],
    )


def _of(each: Sequence[NDArray[Any] | None] | None, row: int) -> NDArray[Any] | None:
    return None if each is None else each[row]


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


def _joined(parties: Sequence[_Party], zeros: Sequence[str]) -> _Party:
    """Parties that meet at a place. A state of `zeros` that some have not written yet is 0 there."""
    if len(parties) == 1:
        return parties[0]
    for name in zeros:
        known = next((party.state[name] for party in parties if name in party.state), None)
        if known is None:
            continue
        for party in parties:
            if name not in party.state:
                party.state[name] = np.zeros((len(party.sample), *known.shape[1:]), known.dtype)
    shared = set(parties[0].state).intersection(*(party.state for party in parties))
    return _Party(
        np.concatenate([party.sample for party in parties]),
        np.concatenate([party.at for party in parties]),
        np.concatenate([party.ran for party in parties]),
        {name: np.concatenate([party.state[name] for party in parties]) for name in shared},
        [look for party in parties for look in party.look],
        [picks for party in parties for picks in party.picks],
    )
