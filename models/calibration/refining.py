"""Walks of refining packages over a whole split: an answer for all that is seen, then its most doubtful parts again.

All parts of an input are run once; as the router takes them in the order of their doubt, the walks at all prices differ
only in how many of them are put in place.
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
Score = Callable[[NDArray[np.float32], int], float]
"""How good an answer is for the sample of that number, 0..1."""
MENU = 24
"""Prices on the path, at most."""


class Views(Protocol):
    """What the stages see of a split."""

    def __len__(self) -> int: ...

    def first(self, sample: int) -> Arrays:
        """The first stage's glimpses, with one row."""

    def parts(self, sample: int, places: NDArray[np.float32]) -> Arrays:
        """The ragged stage's glimpses, one row for each of `places`."""


class Graphs:
    """The three stages of a refining package: the first, the ragged one, and the one that puts parts in place."""

    def __init__(self, folder: Path, rows: str) -> None:
        """From the graphs in `folder`; `rows` is the state that the ragged stage writes."""
        self.folder, self.rows = folder, rows
        self._sessions: dict[str, Any] = {}

    def run(self, stage: str, state: Mapping[str, NDArray[Any]]) -> Arrays:
        """A stage by the name of its file."""
        if stage not in self._sessions:
            self._sessions[stage] = session(self.folder / f"{stage}.onnx")
        return run(self._sessions[stage], state)


@dataclass(frozen=True)
class Sample:
    """One input, all its parts run: what the first stage gave, and the rows that the ragged one wrote."""

    first: Arrays
    rows: NDArray[np.float32]

    @classmethod
    def of(cls, graphs: Graphs, names: Sequence[str], views: Views, number: int) -> "Sample":
        """Through the stages of those names."""
        first = graphs.run(names[0], views.first(number))
        told = {name: array[0] for name, array in first.items() if name.startswith("told")}
        made = graphs.run(names[1], views.parts(number, first["places"][0]) | told)
        return cls(first, made[graphs.rows])

    def pasted(self, graphs: Graphs, name: str, picks: NDArray[np.int64]) -> Arrays:
        """What the last stage gives if those parts, and no others, were refined."""
        rows = np.zeros_like(self.rows)
        rows[picks] = self.rows[picks]
        return graphs.run(name, self.first | {graphs.rows: rows[None]})


@dataclass(frozen=True)
class Refined:
    """n walks at each of P prices.

    Attributes:
        counts: int64 [P, n], parts refined; 0 where the walk left before.
        agreement, quality: float32 [P, n].
        tallies: [P], whatever `tally` made of all answers at each price.
    """

    counts: NDArray[np.int64]
    agreement: NDArray[np.float32]
    quality: NDArray[np.float32]
    tallies: list[Any]

    def macs(self, graph: StageGraph) -> NDArray[np.int64]:
        """int64 [P, n]."""
        first, part, paste = graph.macs
        return np.where(self.counts > 0, first + self.counts * part + paste, first).astype(np.int64)

    def record(self, prices: NDArray[np.float64], graph: StageGraph) -> Arrays:
        """The arrays of a calibration record (docs/packages.md)."""
        walked = self.counts > 0
        ran = np.stack([np.ones_like(self.counts), self.counts, walked], axis=-1).astype(np.uint8)
        routes, route = np.unique(ran.reshape(-1, 3), axis=0, return_inverse=True)
        return {
            "prices": prices,
            "agreement": self.agreement,
            "quality": self.quality,
            "exits": walked.astype(np.int8),
            "macs": self.macs(graph),
            "routes": routes,
            "route": route.reshape(self.counts.shape).astype(np.int16),
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
) -> Refined:
    """Walk a split at every price by the package's own router.

    `tally(so_far, answer, sample)` gathers what a split's metric needs; `so_far` is None at first.
    """
    names, chosen = package.graph.names, router or Refine(package)
    shape = (len(prices), len(views))
    counts, agreement, quality = np.zeros(shape, np.int64), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    tallies: list[Any] = [None] * len(prices)
    for number in range(len(views)):
        sample = Sample.of(graphs, names, views, number)
        one = {name: array.repeat(len(prices), axis=0) for name, array in sample.first.items()}
        routing = chosen.route(0, one, prices)
        answers: dict[int, NDArray[np.float32]] = {}
        for place, after in enumerate(routing.next.tolist()):
            picks = routing.picks[place] if routing.picks is not None else None
            count = 0 if after == LEAVE or picks is None else len(picks)
            if count not in answers:
                made = sample.first if picks is None or not count else sample.pasted(graphs, names[2], picks)
                answers[count] = made["answer"][0]
            counts[place, number] = count
        full = package.task.kept(answers[int(counts[0, number])])
        for place in range(len(prices)):
            answer = answers[int(counts[place, number])]
            agreement[place, number] = 1 - package.task.loss(package.task.kept(answer), full)
            quality[place, number] = score(answer, number)
            tallies[place] = tally(tallies[place], answer, number)
    return Refined(counts, agreement, quality, tallies)


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


def prices_for(gain: NDArray[np.floating], part_macs: int) -> NDArray[np.float64]:
    """Full, 0, the prices at which some bin of doubt stops to pay (spread over them, at most MENU), then cheapest."""
    worths = np.unique(gain.astype(np.float64) / (part_macs / 1e9))
    # In between as well: a walk leaves whole where its best parts no longer pay, which depends on how many it has.
    turning = np.unique(np.concatenate([worths, (worths[1:] + worths[:-1]) / 2]))
    turning = turning[turning > 0]
    kept = np.unique(np.linspace(0, len(turning) - 1, min(len(turning), MENU - 3)).round().astype(int))
    return np.concatenate([[FULL, 0.0], turning[kept], [CHEAPEST]])
