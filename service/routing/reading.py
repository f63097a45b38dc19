"""What routers of readers share: where a walk through a text is, when to stop, where to read on.

A reader's stages look at one chunk of a text each and tell, beside the answer: `at` and `size` float32 [rows, 1], the
number of the chunk and how many there are; `done` float32 [rows, MARKS], 1 for each chunk that was read. Chunks
beyond MARKS are not known to have been read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import PackageError
from service.package.load import Package
from service.package.manifest import FILE
from service.routing.base import LEAVE
from service.routing.early_exit import softmax

JUMPS = ((0, 0), (1, 0), (3, 0), (0, 1), (1, 1), (3, 1))
"""Where a jump may go: so many unread chunks are left out, from the front (0) or from the back (1) of the text."""
MARKS = 64
Outputs = Mapping[str, NDArray[Any]]
_REMEDY = "make it again with the package's recipe"
_LEAVE = np.int16(LEAVE)


@dataclass(frozen=True, slots=True)
class Stops:
    """When reading on is not worth its price.

    Tables, by groups of walks: `temperature` float32 [laps]; `stop_edges` float32 [G, B + 1], score bins;
    `stop_worth` float64 [G, B], the best expected gain in correctness per GMAC of reading on; G is laps x rests: the
    group is told by how many chunks were read and how many are left. What is beyond the tables is as their last.
    `stop_rests` float32 [rests - 1] are the least numbers of chunks left of each rest but the first.
    """

    temperature: NDArray[np.float32]
    edges: NDArray[np.float32]
    worths: NDArray[np.float64]
    rests: NDArray[np.float32]

    @classmethod
    def of(cls, package: Package) -> Stops:
        """The package's tables.

        Raises:
            PackageError: one is missing, of another shape, or has values that can't be.
        """
        found = [table(package, name) for name in ("temperature", "stop_edges", "stop_worth", "stop_rests")]
        temperature, edges, worths, rests = found
        groups = len(temperature) * (len(rests) + 1)
        if edges.ndim != 2 or worths.shape != (groups, edges.shape[1] - 1) or len(edges) != groups:
            raise misfit(package, "stop_worth", f"shape {worths.shape} doesn't fit {groups} groups of {edges.shape}")
        if not (np.all(temperature > 0) and np.all(np.diff(edges) >= 0) and np.all(worths >= 0)):
            raise misfit(package, "stop_worth", "temperatures must be above 0, edges rise, worths be 0 or above")
        return cls(temperature, edges[:, 1:-1], worths.astype(np.float64), rests)

    def answer(self, logits: NDArray[np.float32], lap: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Calibrated probabilities after so many chunks, float32 [rows, classes], and the largest of each row."""
        return calibrated(logits, self.temperature, lap)

    def worth(self, lap: int, rest: NDArray[np.floating], score: NDArray[np.floating]) -> NDArray[np.float64]:
        """Price from which on a walk stops: float64 [rows]; -inf where nothing is left to read."""
        row = min(lap, len(self.temperature)) - 1
        group = row * (len(self.rests) + 1) + self.rests.searchsorted(rest, side="right")
        place = (score[:, None] >= self.edges[group]).sum(axis=1)
        return np.where(rest > 0, self.worths[group, place], -np.inf)


def calibrated(
    logits: NDArray[np.float32], temperature: NDArray[np.float32], lap: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Probabilities after so many chunks, float32 [rows, classes], and the largest of each row."""
    answer = softmax(logits / temperature[min(lap, len(temperature)) - 1])
    return answer, np.maximum.reduce(answer, axis=1)


@dataclass(frozen=True, slots=True)
class Course:
    """The loop of a reader's stages, by place.

    Attributes:
        lap: how many chunks were read at each place, for a loop of one stage.
        on: for each place the next lap's place of the loop's first stage; LEAVE in the last lap.
        answer: name of the answer at each place.
        done: name of the output that marks what was read.
        chunk_macs: MACs of a whole look.
        laps: most chunks that a walk reads.
    """

    lap: tuple[int, ...]
    on: tuple[int, ...]
    answer: tuple[str, ...]
    done: str
    chunk_macs: int
    laps: int

    @classmethod
    def of(cls, package: Package) -> Course:
        """Of a package whose first stage is in a loop, with an exit at every place.

        Raises:
            PackageError: it isn't such a package.
        """
        graph, manifest = package.graph, package.manifest
        first = manifest.stages[0]
        lost = {"at", "size"} - set(first.outputs)
        done = next((port for port, state in first.writes.items() if state == "done"), None)
        if not graph.anytime or 0 in graph.lap_of or lost or done is None:
            problem = "a reader's router needs a loop of stages with exits that tell at, size and done"
            raise PackageError(package.path / FILE, "stages", problem, _REMEDY)
        return cls(
            lap=graph.lap_of,
            on=tuple(next((place for place in after if graph.stage_of[place] == 0), LEAVE) for after in graph.after),
            answer=tuple(package.stage(place).answer or "" for place in range(len(graph.names))),
            done=done,
            chunk_macs=first.macs_per_row,
            laps=manifest.laps,
        )

    def full(self, outputs: Outputs) -> NDArray[np.int64]:
        """MACs of the full walk of each row's own text: int64 [rows]."""
        chunks: NDArray[np.int64] = np.minimum(outputs["size"][:, 0], self.laps).astype(np.int64)
        return chunks * self.chunk_macs

    def following(self, place: int, stays: NDArray[np.bool_]) -> NDArray[np.int16]:
        """The next lap for those that stay: int16 [rows]."""
        return np.where(stays, np.int16(self.on[place]), _LEAVE)


def unread(done: NDArray[np.floating], size: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which chunks are there and weren't read: bool [rows, MARKS].

    Args:
        done: [rows, MARKS].
        size: [rows], how many chunks there are.
    """
    return (np.arange(done.shape[1]) < size[:, None]) & (done < 0.5)


def looks(
    stays: NDArray[np.bool_], chunk: NDArray[np.floating] | NDArray[np.integer]
) -> list[NDArray[np.float32] | None]:
    """For each row that stays where it looks next, float32 [1, 1]; None for the others."""
    there = chunk.astype(np.float32)[:, None, None]
    return [there[row] if stays[row] else None for row in range(len(stays))]


def table(package: Package, name: str) -> NDArray[Any]:
    """One of the package's tables, all finite.

    Raises:
        PackageError: it is missing, or has values that aren't finite.
    """
    found = package.tables.get(name)
    if found is None or not np.all(np.isfinite(found)):
        raise misfit(package, name, "is missing or not finite")
    return found


def misfit(package: Package, name: str, problem: str) -> PackageError:
    """What to say of a table that can't be used."""
    return PackageError(package.path / package.manifest.calibration.file, name, problem, _REMEDY)
