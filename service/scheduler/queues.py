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

    Walkers that are taken out while waiting leave a hole in their heap, which is never handed out nor counted.
    """

    def __init__(self) -> None:
        self._heaps: dict[Place, list[tuple[float, int, Walker]]] = {}
        self._waiting: dict[Place, int] = {}
        self._number = count()

    def __len__(self) -> int:
        """Walkers that wait, at any stage."""
        return sum(self._waiting.values())

    def __iter__(self) -> Iterator[Walker]:
        """The waiting walkers, in no order."""
        return (walker for heap in self._heaps.values() for _, number, walker in heap if _stands(number, walker))

    def waiting_at(self, place: Place) -> int:
        """Walkers that wait at one stage."""
        return self._waiting.get(place, 0)

    def push(self, walker: Walker) -> None:
        """Let a walker wait at its stage, under a new ticket."""
        walker.ticket = self.ticket()
        self.put_back(walker)

    def ticket(self) -> int:
        """A number that no walker has had."""
        return next(self._number)

    def put_back(self, walker: Walker) -> None:
        """Let a walker that was popped wait on, as if nothing had been."""
        place = (walker.model, walker.stage)
        walker.waiting = True
        heapq.heappush(self._heaps.setdefault(place, []), (walker.urgency_at, walker.ticket, walker))
        self._waiting[place] = self._waiting.get(place, 0) + 1

    def remove(self, walker: Walker) -> None:
        """Take a waiting walker out, wherever it stands in its queue."""
        walker.waiting = False
        self._waiting[walker.model, walker.stage] -= 1

    def most_urgent(self) -> Place | None:
        """The stage whose head is the most urgent; among equals the deepest, since it is nearest to an answer."""
        heads = [(self._live(place)[0][0], -place[1], place) for place, waiting in self._waiting.items() if waiting]
        return min(heads)[2] if heads else None

    def pop(self, place: Place, most: int) -> list[Walker]:
        """Take walkers of up to `most` rows from a stage, most urgent first; the first however many rows it has."""
        taken: list[Walker] = []
        rows = 0
        while rows < most and self.waiting_at(place):
            walker = self._live(place)[0][2]
            rows += walker.rows
            if taken and rows > most:
                break
            heapq.heappop(self._heaps[place])
            self.remove(walker)
            taken.append(walker)
        return taken

    def _live(self, place: Place) -> list[tuple[float, int, Walker]]:
        """The heap of a place where somebody waits, with a waiting walker at its head."""
        heap = self._heaps[place]
        while not _stands(heap[0][1], heap[0][2]):
            heapq.heappop(heap)
        return heap


def _stands(number: int, walker: Walker) -> bool:
    """Whether an entry is a walker's own: it wasn't taken out since, nor queued anew."""
    return walker.waiting and walker.ticket == number
