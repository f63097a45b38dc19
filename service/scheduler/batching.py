"""Which walkers run together: merge those that stand at a stage, and let them wait for more only where that pays."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate

from service.core import Release, Walker
from service.scheduler.course import Course
from service.scheduler.queues import Place, Queues

_PAYS = 0.05
"""A merged batch has to save this share of its time to be worth a wait: less is within the noise of the profile."""


class Batching:
    """Forms batches from the queues. It never idles: to wait for more rows means to run those rows' earlier stage
    first.

    DREX (2025) re-batches at exits when the expected saving exceeds the cost; so does this, by the measured profile:
    t(waiting) + t(coming) - t(both together).
    """

    def __init__(self, courses: Mapping[str, Course], queues: Queues) -> None:
        self._courses, self._queues = courses, queues

    def gather(self, place: Place, now: float) -> tuple[list[Walker], Release]:
        """Take a batch out of the queues: of the most urgent place, or of an earlier stage that it waits for."""
        course, stage = self._courses[place[0]], place[1]
        walkers = self._queues.pop(place, course.times[stage].best_rows)
        fit = self._in_time(course, stage, walkers, now)
        for walker in walkers[fit:]:
            self._queues.put_back(walker)
        if fit < len(walkers):
            return walkers[:fit], Release.DEADLINE
        rows = sum(walker.rows for walker in walkers)
        if rows >= course.times[stage].best_rows:
            return walkers, Release.FULL
        source = self._worth_waiting_for(place, rows)
        if source is None:
            return walkers, Release.IDLE
        if not self._can_wait(course, source, stage, walkers, now):
            return walkers, Release.SLACK
        for walker in walkers:
            self._queues.put_back(walker)
        return self.gather((place[0], source), now)

    def _in_time(self, course: Course, stage: int, walkers: list[Walker], now: float) -> int:
        """How many of the walkers may run together without making one late that could be in time."""
        times = course.times[stage]
        after = course.seconds_to_exit(stage) - times.bound(1)
        slacks = [walker.terms.deadline.left(now) - after for walker in walkers if not walker.late]
        tightest = min((slack for slack in slacks if slack >= times.bound(1)), default=float("inf"))
        so_far = list(accumulate(walker.rows for walker in walkers))
        return max(1, bisect_right(so_far, times.rows_within(tightest, so_far[-1])))

    def _worth_waiting_for(self, place: Place, rows: int) -> int | None:
        """An earlier stage whose walkers, run first, would save time by joining these; None if there is none."""
        course, times = self._courses[place[0]], self._courses[place[0]].times[place[1]]
        for source in course.before[place[1]]:
            coming = min(self._queues.waiting_at((place[0], source)), times.best_rows - rows)
            together = times.seconds(rows + coming)
            if coming and times.seconds(rows) + times.seconds(coming) - together > _PAYS * together:
                return source
        return None

    def _can_wait(self, course: Course, source: int, stage: int, walkers: list[Walker], now: float) -> bool:
        """Whether everybody here would still be in time if the earlier stage ran first."""
        best = course.times[stage].best_rows
        wait = course.times[source].bound(course.times[source].best_rows) + course.times[stage].bound(best)
        after = course.seconds_to_exit(stage) - course.times[stage].bound(1)
        return all(walker.terms.deadline.allows(now, wait + after) for walker in walkers if not walker.late)
