"""What the scheduler knows of a model: its stage graph, how long its stages take, and what its walkers want."""

from __future__ import annotations

from service.package.graph import StageGraph
from service.package.record import Record
from service.scheduler.estimator import StageTimes
from service.scheduler.market import Trade
from service.scheduler.outlook import Outlook

_LOOK_WEIGHT = 0.05
"""Weight of the newest glimpse in what is expected of the next."""


class Course:
    """One model as the scheduler sees it.

    Attributes:
        before: for each stage, the stages that may lead to it.
    """

    def __init__(self, graph: StageGraph, times: list[StageTimes], outlook: Outlook) -> None:
        self.graph, self.times, self.outlook = graph, times, outlook
        stages = range(len(graph.names))
        self.before = tuple(tuple(s for s in stages if after in graph.after[s]) for after in stages)
        self._macs = graph.to_next_exit(graph.macs)
        self._look_s = [0.0] * len(graph.names)
        self._seconds = self._bounds()

    @classmethod
    def of(cls, graph: StageGraph, times: list[StageTimes], record: Record) -> Course:
        """Course of a package whose stages were timed."""
        return cls(graph, times, Outlook.of(record, graph))

    @property
    def trade(self) -> Trade:
        """The model as the market sees it."""
        return Trade(self.outlook, self.times, self.graph.macs)

    def look_seconds(self, stage: int) -> float:
        """Expected seconds to make the glimpses that a stage asks for."""
        return self._look_s[stage]

    def looked(self, stage: int, seconds: float) -> None:
        """Learn from glimpses that were made: the first says all, then about the last 20 count."""
        kind = self.graph.stage_of[stage]
        known = self._look_s[stage]
        learned = seconds if known == 0.0 else known + _LOOK_WEIGHT * (seconds - known)
        for place, other in enumerate(self.graph.stage_of):
            if other == kind:
                self._look_s[place] = learned

    def observe(self, stage: int, rows: int, seconds: float) -> None:
        """Learn from a batch that ran."""
        self.times[stage].observe(rows, seconds)
        self._seconds = self._bounds()

    @property
    def cheapest_s(self) -> float:
        """Expected seconds of the shortest walk, alone."""
        return self.graph.to_next_exit([times.seconds(1) for times in self.times])[0]

    def macs_to_exit(self, stage: int, rows: int = 1) -> int:
        """MACs from the start of a stage, of which that many rows run, to the next exit."""
        return round(self._macs[stage]) + (rows - 1) * self.graph.macs[stage]

    def seconds_to_exit(self, stage: int, rows: int = 1) -> float:
        """Seconds from the start of a stage to the next exit, for one walker alone, that are rarely exceeded."""
        if rows == 1:
            return self._seconds[stage]
        times = self.times[stage]
        return self._seconds[stage] + times.bound(rows) - times.bound(1)

    def rows_within(self, stage: int, slack: float, most: int) -> int:
        """How many rows of a stage may run, if the first fits and the others may take `slack` seconds; 1 or more."""
        times = self.times[stage]
        return times.rows_within(slack + times.bound(1), most)

    def _bounds(self) -> list[float]:
        return self.graph.to_next_exit([times.bound(1) for times in self.times])
