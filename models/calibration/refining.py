"""Walks of refining packages over a whole split: an answer for all that is seen, then its most doubtful parts again,
level by level.

Parts are run once for each way in which the level before stands; as the router takes them in the order of their doubt,
the walks at all prices differ only in how many of them are put in place.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from models.calibration.gain_maps import non_increasing
from models.export import run, session
from service.core import CHEAPEST, FULL
from service.package.graph import StageGraph
from service.package.load import Package
from service.routing.base import LEAVE, Router
from service.routing.refine import Refine

Arrays = dict[str, NDArray[Any]]
Picks = NDArray[np.int64]
Score = Callable[[NDArray[np.float32], int], float]
"""How good an answer is for the sample of that number, 0..1."""
MENU = 32
"""Prices on the path, at most."""


class Views(Protocol):
    """What the stages see of a split."""

    def __len__(self) -> int: ...

    def first(self, sample: int) -> Arrays:
        """The glimpses of the stages that run once a sample, with one row."""

    def parts(self, sample: int, places: NDArray[np.float32]) -> Arrays:
        """A ragged stage's glimpses, one row for each of `places`."""


@dataclass(frozen=True)
class Level:
    """A ragged stage, and the stage that puts its rows in place.

    Attributes:
        part, paste: names of the two.
        rows: the state that the ragged stage writes.
        told: states of which the picked rows go in.
        places: the output that says where its glimpses are taken; None if it has none.
    """

    part: str
    paste: str
    rows: str
    told: tuple[str, ...] = ("told",)
    places: str | None = "places"


class Graphs:
    """The stages of a refining package: the first, then by level the ragged one and the one that puts it in place."""

    def __init__(self, folder: Path, first: str, levels: Sequence[Level]) -> None:
        """From the graphs in `folder`; `first` is the stage that answers for all that is seen."""
        self.folder, self.first, self.levels = folder, first, tuple(levels)
        self._sessions: dict[str, Any] = {}

    def run(self, stage: str, state: Mapping[str, NDArray[Any]]) -> Arrays:
        """A stage by the name of its file."""
        if stage not in self._sessions:
            self._sessions[stage] = session(self.folder / f"{stage}.onnx")
        return run(self._sessions[stage], state)


class Sample:
    """One input, walked on demand: what was made once is kept."""

    def __init__(self, graphs: Graphs, views: Views, number: int) -> None:
        """Through the first stage."""
        self._graphs, self._views, self._number = graphs, views, number
        seen = views.first(number)
        self._made: dict[tuple[bytes, ...], Arrays] = {(): seen | graphs.run(graphs.first, seen)}
        self._rows: dict[tuple[bytes, ...], tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}

    @property
    def first(self) -> Arrays:
        """What the first stage saw and gave."""
        return self._made[()]

    def after(self, *picks: Picks) -> Arrays:
        """All states once those parts, and no others, were refined: the picks of the first level, then the next."""
        key = tuple(each.tobytes() for each in picks)
        if key not in self._made:
            level, before = self._graphs.levels[len(picks) - 1], self.after(*picks[:-1])
            ran = self.rows(*picks[:-1], picks=picks[-1])
            rows = np.zeros_like(ran)
            rows[picks[-1]] = ran[picks[-1]]
            state = before | {level.rows: rows[None]}
            self._made[key] = state | self._graphs.run(level.paste, state)
        return self._made[key]

    def rows(self, *before: Picks, picks: Picks) -> NDArray[np.float32]:
        """Rows of the next level's parts, [N, ...]; right where they are `picks`, or were run before."""
        key, level = tuple(each.tobytes() for each in before), self._graphs.levels[len(before)]
        rows, done = self._rows.get(key, (None, np.zeros(0, bool)))
        # Where nothing is picked one part is run all the same: for the shape of its row.
        wanted = picks[~done[picks]] if rows is not None else picks if len(picks) else np.arange(1)
        if len(wanted):
            state = self.after(*before)
            made = self._run(level, state, wanted)
            if rows is None:
                count = state[level.told[0]].shape[1]
                rows, done = np.zeros((count, *made.shape[1:]), np.float32), np.zeros(count, bool)
            rows[wanted], done[wanted] = made, True
            self._rows[key] = rows, done
        assert rows is not None
        return rows

    def _run(self, level: Level, state: Arrays, picks: Picks) -> NDArray[np.float32]:
        told = {name: state[name][0, picks] for name in level.told}
        shown = {} if level.places is None else self._views.parts(self._number, state[level.places][0, picks])
        made: NDArray[np.float32] = self._graphs.run(level.part, told | shown)[level.rows]
        return made


@dataclass(frozen=True)
class Refined:
    """n walks at each of P prices.

    Attributes:
        rows: int64 [P, n, S], how many rows each stage ran.
        agreement, quality: float32 [P, n].
        tallies: [P], whatever `tally` made of all answers at each price.
    """

    rows: NDArray[np.int64]
    agreement: NDArray[np.float32]
    quality: NDArray[np.float32]
    tallies: list[Any]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Parts refined of the first level, int64 [P, n]; 0 where the walk left before."""
        return self.parts(0)

    def parts(self, level: int) -> NDArray[np.int64]:
        """Parts refined of a level, int64 [P, n]."""
        return np.asarray(self.rows[..., 1 + 2 * level])

    def macs(self, graph: StageGraph) -> NDArray[np.int64]:
        """int64 [P, n]."""
        return np.asarray(self.rows @ np.array(graph.macs, np.int64))

    def record(self, prices: NDArray[np.float64], graph: StageGraph) -> Arrays:
        """The arrays of a calibration record (docs/packages.md)."""
        stages = self.rows.shape[-1]
        routes, route = np.unique(self.rows.astype(np.uint16).reshape(-1, stages), axis=0, return_inverse=True)
        exits = np.array(graph.exit_of)
        left = np.where((self.rows > 0) & (exits >= 0), exits, 0).max(axis=-1)
        return {
            "prices": prices,
            "agreement": self.agreement,
            "quality": self.quality,
            "exits": left.astype(np.int8),
            "macs": self.macs(graph),
            "routes": routes,
            "route": route.reshape(self.rows.shape[:2]).astype(np.int16),
        }


def walked(
    package: Package,
    graphs: Graphs,
    views: Views,
    prices: NDArray[np.float64],
    score: Score,
    tally: Callable[[Any, NDArray[np.float32], int], Any],
    *,
    router: Router | None = None,
    also: Callable[[Sample, int], None] | None = None,
) -> Refined:
    """Walk a split at every price by the package's own router.

    `tally(so_far, answer, sample)` gathers what a split's metric needs; `so_far` is None at first. `also` is handed
    each input once it was walked, to measure more of it.
    """
    chosen, shape = router or Refine(package), (len(prices), len(views))
    rows = np.zeros((*shape, len(package.graph.names)), np.int64)
    agreement, quality = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    tallies: list[Any] = [None] * len(prices)
    for number in range(len(views)):
        sample, full = Sample(graphs, views, number), None
        for place in range(len(prices)):
            picks = route(chosen, graphs, sample, prices[place : place + 1])
            rows[place, number, 0] = 1
            for level, some in enumerate(picks):
                rows[place, number, 1 + 2 * level : 3 + 2 * level] = len(some), 1
            answer = sample.after(*picks)["answer"][0]
            kept = package.task.kept(answer)
            full = kept if full is None else full
            agreement[place, number] = 1 - package.task.loss(kept, full)
            quality[place, number] = score(answer, number)
            tallies[place] = tally(tallies[place], answer, number)
        if also is not None:
            also(sample, number)
    return Refined(rows, agreement, quality, tallies)


def route(router: Router, graphs: Graphs, sample: Sample, price: NDArray[np.float64]) -> list[Picks]:
    """The parts that a walk at a price, float64 [1], refines: of each level that it comes to, or passes with none."""
    picks: list[Picks] = []
    while len(picks) < len(graphs.levels):
        routing = router.route(2 * len(picks), sample.after(*picks), price)
        if routing.next[0] == LEAVE:
            break
        some = None if routing.picks is None else routing.picks[0]
        picks.append(np.zeros(0, np.int64) if some is None else some)
    return picks


def fit_gain(doubt: NDArray[np.floating], gained: NDArray[np.floating], bins: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The router's table from parts' doubts and what refining them mended, both [k]: edges [bins + 1] and gain [bins].

    Bins hold fewer parts towards the highest doubts, where nearly all the gain is. The gain never falls with the doubt,
    nor below 0.
    """
    edges = np.quantile(doubt, 1 - np.linspace(1, 0, bins + 1) ** 1.5).astype(np.float32)
    place = np.searchsorted(edges[1:-1], doubt.astype(np.float32), side="right")
    weights = np.bincount(place, minlength=bins).astype(np.float64)
    means = np.bincount(place, weights=gained, minlength=bins) / np.maximum(weights, 1)
    middles = np.bincount(place, weights=doubt, minlength=bins) / np.maximum(weights, 1)
    return edges, np.maximum(_between(-non_increasing(-means, weights), middles), 0).astype(np.float32)


def _between(steps: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """A rising step function over bins, [bins], as straight lines between the middles of its steps.

    Equal bins are what few samples leave of a slope; one price for all of them would make one choice of many.
    """
    values, which = np.unique(steps, return_inverse=True)
    middles = np.bincount(which, weights=at) / np.bincount(which)
    return np.maximum.accumulate(np.interp(at, middles, values))


def prices_for(gains: Sequence[NDArray[np.floating]], part_macs: Sequence[int]) -> NDArray[np.float64]:
    """Full, 0, the prices at which some bin of doubt stops to pay (spread over them, at most MENU), then cheapest.

    `gains` are each level's, `part_macs` what one of its parts costs.
    """
    worths = [np.unique(gain.astype(np.float64) / (macs / 1e9)) for gain, macs in zip(gains, part_macs, strict=True)]
    # In between as well: a walk leaves whole where its best parts no longer pay, which depends on how many it has.
    turning = np.unique(np.concatenate([part for each in worths for part in (each, (each[1:] + each[:-1]) / 2)]))
    turning = turning[turning > 0]
    kept = np.unique(np.linspace(0, len(turning) - 1, min(len(turning), MENU - 3)).round().astype(int))
    return np.concatenate([[FULL, 0.0], turning[kept], [CHEAPEST]])
