"""The turnstile: how many requests are inside the process, how fast they come out, and who can't be out in time.

The scheduler sees a request only once its handler runs. What a request costs around its stages (parsing, admission, its
answer) is queued in the event loop, where nobody orders it and no price thins it out; when that is the bottleneck the
scheduler's own queue stays short and everybody is late. So the process as a whole is taken as one more queue: it hands
out answers at a pace, measured while it is busy, and a newcomer with too many more urgent ones ahead is turned away
before anything is spent on it. Nothing is forecast: the count is what it is now.

Pure: the time is passed in, in seconds of the monotonic clock. Used by the event loop's thread only.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Hashable
from dataclasses import dataclass, field

_WEIGHT = 0.02
"""Weight of the newest interval: about the last 50 count. Batches answer in bunches, so fewer would be noise."""
_SHARE = 0.45
"""Share of a newcomer's patience that the wait behind others may take. The rest is for the batch that runs as it comes,
its own, and the answers of a bunch: with half of it, bunches were late under overload."""
_FREE = 4
"""With no more than this many ahead everybody is let in: one stall, or one slow model's pace, must not refuse."""
_HELD_UP_S = 0.01
"""Less than this isn't a backlog; a patience that even an idle machine would exceed is no business of the turnstile."""
_SPREADS = 3.0
"""The reserve lies this many mean absolute deviations above the mean."""


@dataclass(frozen=True, slots=True)
class Pass:
    """One request inside. `urgency_at` orders it among the others, as in the scheduler's queues."""

    model: Hashable
    urgency_at: float


@dataclass(slots=True)
class _Crowd:
    """Those inside for one model, most urgent first, and the seconds between two of its answers while it is busy."""

    urgencies: list[float] = field(default_factory=list)
    pace_s: float = 0.0


class Turnstile:
    """Counts requests in and out, by model."""

    def __init__(self) -> None:
        self._crowds: dict[Hashable, _Crowd] = {}
        self._answered_at = 0.0
        self._mean_s = self._spread_s = 0.0
        self._inside = 0

    def __len__(self) -> int:
        """Requests inside."""
        return self._inside

    @property
    def crowded(self) -> bool:
        """Whether so many are inside that a newcomer may have to be refused for it."""
        return self._inside > _FREE

    @property
    def reserve_s(self) -> float:
        """Seconds that the way from a walk's end to its answer rarely exceeds: deadlines are drawn nearer by it."""
        return self._mean_s + _SPREADS * self._spread_s

    def expect(self, model: Hashable, seconds: float) -> None:
        """The pace to reckon with until a crowd has shown the true one."""
        self._crowds.setdefault(model, _Crowd()).pace_s = seconds

    def lateness(self, urgency_at: float, arrived_at: float, patience_s: float, now: float) -> float:
        """By how many seconds the wait behind the more urgent ones would be too long; 0 or less: come in.

        Who is inside already may ask again: it isn't counted as before itself. What it has waited already, in its
        socket, counts. Those whose moment has passed don't: the late make way for everybody who can be in time.
        """
        ahead, wait = 0, now - arrived_at
        for crowd in self._crowds.values():
            if not crowd.urgencies:
                continue
            before = max(0, bisect_left(crowd.urgencies, urgency_at) - bisect_left(crowd.urgencies, now))
            ahead += before
            wait += before * crowd.pace_s
        allowed = _SHARE * patience_s
        held_up = now - arrived_at > allowed >= _HELD_UP_S
        return wait - allowed if ahead > _FREE or held_up else 0.0

    def enter(self, model: Hashable, urgency_at: float) -> Pass:
        """A request goes in; hand the pass back with `leave`."""
        insort(self._crowds.setdefault(model, _Crowd()).urgencies, urgency_at)
        self._inside += 1
        return Pass(model, urgency_at)

    def leave(self, given: Pass) -> None:
        """A request has its response, or its client has gone."""
        urgencies = self._crowds[given.model].urgencies
        del urgencies[bisect_right(urgencies, given.urgency_at) - 1]
        self._inside -= 1

    def answered(self, model: Hashable, arrived_at: float, now: float, spare_s: float = 0.0) -> None:
        """A request that came at a moment has an answer. Refusals are no progress: they would make the pace look fast.

        Alone, a request takes as long as it takes; only those that followed each other tell the pace. `spare_s` is what
        its walk took beyond the cheapest one: the market takes that away before anybody has to be refused, so the pace
        to reckon with is the one without it.
        """
        if arrived_at <= self._answered_at:
            crowd = self._crowds.setdefault(model, _Crowd())
            interval = max(now - self._answered_at - spare_s, 0.0)
            crowd.pace_s += _WEIGHT * (interval - crowd.pace_s) if crowd.pace_s else interval
        self._answered_at = now

    def told(self, seconds: float) -> None:
        """An answer was on its way for that long since its walk had ended."""
        self._mean_s += _WEIGHT * (seconds - self._mean_s)
        self._spread_s += _WEIGHT * (abs(seconds - self._mean_s) - self._spread_s)
