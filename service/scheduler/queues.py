"""Walkers waiting at their stages, most urgent first."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import count

from service.core import Walker

Place = tuple[str, int]
"""Model and stage index."""


class Queues:
    """One queue a stage, ordered by the walkers' `urgency_at`; equal urgencies keep their order of arrival.

    Walkers that ended while waiting are dropped lazily, but are never handed out nor counted.
    """

    def __init__(self) -> None:
        self._heaps: dict[Place, list[tuple[float, int, Walker]]] = {}
        self._number = count()
        self._waiting = 0

    def __len__(self) -> int:
        """Walkers that wait."""
        return self._waiting

    def __iter__(self) -> Iterator[Walker]:
        """The waiting walkers, in no order."""
        return (walker for heap in self._heaps.values() for _, _, walker in heap if not walker.done)

    def push(self, walker: Walker) -> None:
        """Let a walker wait at its stage."""
        heap = self._heaps.setdefault((walker.model, walker.stage), [])
        heapq.heappush(heap, (walker.terms.urgency_at, next(self._number), walker))
        self._waiting += 1

    def forget(self, walker: Walker) -> None:
        """Take a waiting walker out; it ended without running."""
        walker.done = True
        self._waiting -= 1

    def most_urgent(self) -> Place | None:
        """The stage whose head is the most urgent; among equals the deepest, since it is nearest to an answer."""
        heads = [(heap[0][0], -place[1], place) for place in list(self._heaps) if (heap := self._live(place))]
        return min(heads)[2] if heads else None

    def pop(self, place: Place, most: int) -> list[Walker]:
        """Take up to `most` walkers from a stage, most urgent first."""
        taken: list[Walker] = []
        while len(taken) < most and (heap := self._live(place)):
            taken.append(heapq.heappop(heap)[2])
        self._waiting -= len(taken)
        return taken

    def _live(self, place: Place) -> list[tuple[float, int, Walker]]:
        """The heap of a place with a waiting walker at its head, or an empty list."""
        heap = self._heaps[place]
        while heap and heap[0][2].done:
            heapq.heappop(heap)
        return heap
