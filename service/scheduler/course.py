"""What the scheduler knows of a model: its stage graph, how long its stages take, and what its walkers want."""

from __future__ import annotations

from service.package.graph import StageGraph
from service.package.record import Record
from service.scheduler.estimator import StageTimes
from service.scheduler.market import Trade
from service.scheduler.outlook import Outlook


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
        self._seconds = self._bounds()

    @classmethod
    def of(cls, graph: StageGraph, times: list[StageTimes], record: Record) -> Course:
        """Course of a package whose stages were timed."""
        return cls(graph, times, Outlook.of(record, graph))

    @property
    def trade(self) -> Trade:
        """The model as the market sees it."""
        return Trade(self.outlook, self.times, self.graph.macs)

    def observe(self, stage: int, rows: int, seconds: float) -> None:
        """Learn from a batch that ran."""
        self.times[stage].observe(rows, seconds)
        self._seconds = self._bounds()

    @property
    def cheapest_s(self) -> float:
        """Expected seconds of the shortest walk, alone."""
        return self.graph.to_next_exit([times.seconds(1) for times in self.times])[0]

    def macs_to_exit(self, stage: int) -> int:
        """MACs from the start of a stage to the next exit."""
        return round(self._macs[stage])

    def seconds_to_exit(self, stage: int) -> float:
        """Seconds from the start of a stage to the next exit, for a batch of one, that are rarely exceeded."""
        return self._seconds[stage]

    def _bounds(self) -> list[float]:
        return self.graph.to_next_exit([times.bound(1) for times in self.times])
