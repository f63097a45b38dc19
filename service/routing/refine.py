"""Refining: an answer for all that is seen, then its most doubtful parts once more, each where that is worth its price.

A stage with an exit gives, beside its answer, a doubt for each of N parts (tiles of a frame, boxes, pixels); a ragged
stage runs the parts that are picked, and the stage after it puts them in place. Deep layer cascade (Li et al., CVPR
2017) and PointRend (Kirillov et al., CVPR 2020) pick by one threshold or a fixed number; here a table, made on the
router split, tells how much of the answer a part of that doubt is expected to mend, so a part is picked if that is more
than the price of its MACs, and a walk goes on if that pays for the putting in place as well. Where finer parts may
follow that are cheaper, a walk may pass the coarser ones by.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.core import FULL
from service.errors import PackageError
from service.package.load import Package
from service.routing.base import LEAVE, Routing, misbuilt, register
from service.routing.skipping import port

_GIGA = 1e9


@dataclass(frozen=True, slots=True)
class _Level:
    """One ragged stage and what leads to it.

    Attributes:
        doubt, places: outputs [rows, N] and [rows, N, coordinates] of the stage before; None where it has no `places`.
        after: the ragged place.
        gmacs: GMACs of one of its rows, and of putting them in place.
        edges: float32 [B - 1], inner edges of the bins of doubt.
        gain: float32 [B], the share of the answer that refining such a part is expected to mend.
        past, ahead: the place behind, if a walk may go there without any of these parts, and the gain per GMAC of the
            most doubtful part of the level after that; else LEAVE and 0.
    """

    doubt: str
    places: str | None
    after: int
    gmacs: tuple[float, float]
    edges: NDArray[np.float32]
    gain: NDArray[np.float32]
    past: int
    ahead: float

    def gains(self, doubt: NDArray[np.float32]) -> NDArray[np.float64]:
        """Expected gain of each part, float64 [rows, N]."""
        return self.gain[self.edges.searchsorted(doubt, side="right")].astype(np.float64)

    def worth(self, gains: NDArray[np.float64]) -> NDArray[np.float64]:
        """The best gain per GMAC that any number of parts brings, the dearest first: float64 [rows], never below 0.

        Args:
            gains: float64 [rows, N], falling along each row.
        """
        cost = np.arange(1, gains.shape[1] + 1) * self.gmacs[0] + self.gmacs[1]
        best: NDArray[np.float64] = (gains.cumsum(axis=1) / cost).max(axis=1)
        return np.maximum(best, 0.0)


@register("refine")
class Refine:
    """Tables, one row for each of L ragged stages: `doubt_edges` float32 [L, B + 1], not falling, and `doubt_gain`
    float32 [L, B], neither below 0 nor falling.

    A stage that leads to a ragged one has an exit, and may lead to the stage behind that as well if a level follows.
    Outputs of the stage before a ragged one: `doubt*` [rows, N], and if that takes glimpses `places*` [rows, N, ..],
    where each part is to be seen; if it takes none, `places*` only tells `explain` where parts are, and may be missing.
    Of each stage with an exit: `score*` [rows, 1], 0..1.
    """

    def __init__(self, package: Package) -> None:
        graph, stages = package.graph, package.manifest.stages
        before = [place for place, after in enumerate(graph.after) if any(graph.rows[each] > 1 for each in after)]
        edges, gain = _tables(package, len(before))
        self._next = [after[0] if after else LEAVE for after in graph.after]
        self._answers = [stages[stage].answer or "" for stage in graph.stage_of]
        self._scores = [port(stages[s], "score", package) if stages[s].answer else "" for s in graph.stage_of]
        self._levels: dict[int, _Level] = {}
        best = [
            float(gain[level, -1]) / (graph.macs[graph.after[place][0]] / _GIGA) for level, place in enumerate(before)
        ]
        for level, place in enumerate(before):
            stage, after = stages[graph.stage_of[place]], graph.after[place][0]
            past, ahead = graph.after[place][1:], best[level + 1 :]
            if past not in ((), graph.after[after]) or (past and before[level + 1 : level + 2] != [past[0]]):
                raise misbuilt(package, f"stage {stage.name!r} leads to {after!r} and elsewhere than behind that")
            if stage.answer is None:
                raise misbuilt(package, f"stage {stage.name!r} leads to a ragged one without an exit")
            macs = (graph.macs[after] / _GIGA, graph.macs[graph.after[after][0]] / _GIGA)
            told = any(name.startswith("places") for name in stage.outputs)
            places = port(stage, "places", package) if told or graph.looks[after] else None
            doubt = port(stage, "doubt", package)
            behind = (past[0], ahead[0]) if past else (LEAVE, 0.0)
            self._levels[place] = _Level(doubt, places, after, macs, edges[level, 1:-1], gain[level], *behind)

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. `signals` tell how many parts are picked, and what they are expected to mend."""
        rows, level = len(prices), self._levels.get(stage)
        if not self._answers[stage]:
            return Routing(np.full(rows, self._next[stage], np.int16))
        answer, score = outputs[self._answers[stage]], outputs[self._scores[stage]][:, 0]
        if level is None:
            after = np.full(rows, self._next[stage], np.int16)
            worth = np.full(rows, -np.inf if self._next[stage] == LEAVE else np.inf)
            return Routing(after, answer, score, worth)
        doubt = outputs[level.doubt]
        order = np.argsort(-doubt, axis=1, kind="stable")
        gains = level.gains(np.take_along_axis(doubt, order, axis=1))
        worth = level.worth(gains)
        counts = _counts(gains, prices * level.gmacs[0])
        goes = (worth > prices) | (prices == FULL)
        picks = [chosen[:count] if on else None for chosen, count, on in zip(order, counts, goes, strict=True)]
        looks = None
        if level.places is not None:
            shown = outputs[level.places]
            looks = [None if pick is None else shown[row, pick] for row, pick in enumerate(picks)]
        paid = [gain[:count].sum() if on else 0.0 for gain, count, on in zip(gains, counts, goes, strict=True)]
        passes = np.where(level.ahead > prices, np.int16(level.past), np.int16(LEAVE))
        return Routing(
            np.where(goes, np.int16(level.after), passes),
            answer,
            score,
            np.maximum(worth, level.ahead),
            {"refined": np.where(goes, counts, 0).astype(np.float32), "expected_gain": np.array(paid, np.float32)},
            looks,
            picks,
        )


def _counts(gains: NDArray[np.float64], least: NDArray[np.float64]) -> NDArray[np.int64]:
    """How many parts of each row bring more than what one costs, at least 1; all of them at the price "full"."""
    counts = np.maximum((gains > least[:, None]).sum(axis=1), 1)
    return np.asarray(np.where(np.isneginf(least), gains.shape[1], counts))


def _tables(package: Package, levels: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    file = package.path / package.manifest.calibration.file
    remedy = "make it again with the package's recipe"
    found = [package.tables.get(name) for name in ("doubt_edges", "doubt_gain")]
    edges, gain = found
    if edges is None or gain is None or gain.ndim != 2 or edges.shape != (levels, gain.shape[1] + 1):
        problem = f"doubt_edges and doubt_gain must be [{levels}, bins + 1] and [{levels}, bins]"
        raise PackageError(file, "doubt_gain", problem, remedy)
    if not (np.all(np.diff(edges) >= 0) and np.all(np.diff(gain) >= 0) and np.all(gain >= 0)):
        problem = "doubt_edges and doubt_gain must not fall, and no gain is below 0"
        raise PackageError(file, "doubt_gain", problem, remedy)
    return edges, gain
