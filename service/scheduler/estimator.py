"""How long a stage takes for a number of rows: measured at warm-up, corrected while serving."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_DRIFT_WEIGHT = 0.05
"""Weight of the newest batch in the drift: about the last 20 batches count."""
_BOUND_SPREADS = 3.0
"""A bound lies this many mean absolute deviations above the expected time."""
_DRIFT_RANGE = (0.25, 4.0)
"""A single stall (another process, a page fault) must not poison the estimate for long."""
_KNEE = 0.05
"""A larger batch has to lower the time per row by this share to be worth its wait."""


@dataclass(slots=True)
class StageTimes:
    """Seconds of one stage by batch rows. `sizes` ascend from 1; between them time is interpolated linearly."""

    sizes: Sequence[int]
    measured: Sequence[float]
    drift: float = field(default=1.0, init=False)
    spread: float = field(default=0.1, init=False)
    """Mean absolute deviation of a batch's time from what was expected, as a share of it."""
    best_rows: int = field(init=False)

    def __post_init__(self) -> None:
        if not self.sizes or self.sizes[0] != 1 or len(self.sizes) != len(self.measured):
            raise ValueError("a profile starts with 1 row and has one time a size")
        self.best_rows = _knee(dict(zip(self.sizes, self.measured, strict=True)))

    def seconds(self, rows: int) -> float:
        """Expected seconds of a batch."""
        return self._profile(rows) * self.drift

    def bound(self, rows: int) -> float:
        """Seconds of a batch that are rarely exceeded: what deadlines are held against."""
        return self.seconds(rows) * (1 + _BOUND_SPREADS * self.spread)

    def observe(self, rows: int, seconds: float) -> None:
        """Learn from a batch that ran: the machine's speed drifts."""
        low, high = _DRIFT_RANGE
        ratio = min(max(seconds / self._profile(rows), low), high)
        self.spread += _DRIFT_WEIGHT * (abs(ratio / self.drift - 1) - self.spread)
        self.drift += _DRIFT_WEIGHT * (ratio - self.drift)

    def rows_within(self, seconds: float, most: int) -> int:
        """The largest batch of at most `most` rows that surely ends in that time; 1 if none does."""
        if most == 1 or self.bound(most) <= seconds:
            return most
        # A longer batch takes longer, but for the noise of the profile.
        return max(1, bisect_right(range(1, most), seconds, key=self.bound))

    def _profile(self, rows: int) -> float:
        place = bisect_left(self.sizes, rows)
        if place == len(self.sizes):
            return self.measured[-1] * rows / self.sizes[-1]
        if self.sizes[place] == rows:
            return self.measured[place]
        low, high = self.sizes[place - 1], self.sizes[place]
        share = (rows - low) / (high - low)
        return self.measured[place - 1] * (1 - share) + self.measured[place] * share


def _knee(times: Mapping[int, float]) -> int:
    """The smallest batch size that no larger one beats clearly in time per row."""
    best = min(seconds / rows for rows, seconds in times.items())
    return min(rows for rows, seconds in times.items() if seconds / rows <= best * (1 + _KNEE))
