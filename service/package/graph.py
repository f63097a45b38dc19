"""The stage graph as arrays of numbers: what the scheduler and the routers need of a manifest, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.package.laps import unrolled
from service.package.stage import Stage


@dataclass(frozen=True, slots=True)
class StageGraph:
    """The places where a walk may stand, by index in walking order. Without a loop they are the stages themselves.

    Attributes:
        names: stage names, in a loop with the lap behind them.
        macs: MACs of one row at each place.
        after: for each place the indexes that may follow; empty for a last one.
        exits: exit names, in walking order.
        exit_of: for each place the index of its exit, or -1.
        full_macs: MACs of the dearest walk. The full walk of a given input may cost less.
        kinds: names of the stages that these are places of.
        stage_of: for each place the index of its stage in the manifest.
        lap_of: for each place 1.. within a loop, 0 outside.
        rows: most rows of one sample at each place; 1 unless it is ragged.
        looks: for each place whether it asks for a glimpse.
        choosy: for each place whether only its router's own choice can lead there, because it alone says where to look
            or which rows to run.
    """

    names: tuple[str, ...]
    macs: tuple[int, ...]
    after: tuple[tuple[int, ...], ...]
    exits: tuple[str, ...]
    exit_of: tuple[int, ...]
    full_macs: int
    kinds: tuple[str, ...] = ()
    stage_of: tuple[int, ...] = ()
    lap_of: tuple[int, ...] = ()
    rows: tuple[int, ...] = ()
    looks: tuple[bool, ...] = ()
    choosy: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        """What isn't told is that of stages without loop, rows and further glimpses."""
        count = len(self.names)
        plain: dict[str, tuple[object, ...]] = {
            "kinds": self.names,
            "stage_of": tuple(range(count)),
            "lap_of": (0,) * count,
            "rows": (1,) * count,
            "looks": (False,) * count,
            "choosy": (False,) * count,
        }
        for name, value in plain.items():
            if not getattr(self, name):
                object.__setattr__(self, name, value)

    @classmethod
    def of(cls, stages: Sequence[Stage], laps: int = 1) -> StageGraph:
        """Graph of a valid manifest's stages (names resolve, edges go forward or round the loop)."""
        places = unrolled(stages, laps)
        index = {place.name: number for number, place in enumerate(places)}
        exits = tuple(place.exit for place in places if place.exit)
        macs = tuple(place.stage.macs_per_row for place in places)
        rows = tuple(place.stage.ragged or 1 for place in places)
        after = tuple(tuple(index[name] for name in place.next) for place in places)
        most = [cost * count for cost, count in zip(macs, rows, strict=True)]
        return cls(
            names=tuple(place.name for place in places),
            kinds=tuple(place.stage.name for place in places),
            stage_of=tuple(place.index for place in places),
            lap_of=tuple(place.lap for place in places),
            macs=macs,
            rows=rows,
            looks=tuple(bool(place.stage.glimpses) for place in places),
            choosy=tuple(place.stage.choosy for place in places),
            after=after,
            exits=exits,
            exit_of=tuple(exits.index(place.exit) if place.exit else -1 for place in places),
            full_macs=sum(most[place] for place in _dearest_way(most, after)),
        )

    @property
    def looks_again(self) -> bool:
        """Whether a stage after the first asks for a glimpse, so that the raw input has to be kept."""
        return any(self.looks[1:])

    def first_place(self, stage: int) -> int:
        """The first place of one of the manifest's stages."""
        return self.stage_of.index(stage)

    @property
    def chain(self) -> bool:
        """Whether each stage but the last is followed by the next one and no other, and runs one row a sample."""
        last = len(self.names) - 1
        ahead = [(stage + 1,) if stage < last else () for stage in range(len(self.names))]
        return max(self.rows) == 1 and list(self.after) == ahead

    @property
    def anytime(self) -> bool:
        """Whether an answer stands after every stage, so that a walk may be broken off anywhere."""
        return min(self.exit_of) >= 0

    def cheapest_way(self, stage: int) -> list[int]:
        """The stages of the least MACs from the start of a stage to the next exit, both included."""
        way, costs = [stage], self.to_next_exit(self.macs)
        while self.exit_of[way[-1]] < 0:
            way.append(min(self.after[way[-1]], key=costs.__getitem__))
        return way

    @property
    def dearest_way(self) -> list[int]:
        """The stages of the full walk."""
        return _dearest_way([cost * count for cost, count in zip(self.macs, self.rows, strict=True)], self.after)

    def to_next_exit(self, costs: Sequence[float]) -> list[float]:
        """For each stage, the least cost from its start to the end of the next stage with an exit, itself included.

        `costs` holds one cost a stage, in any unit: MACs, seconds. A ragged stage may have been left with one row.
        """
        total = [0.0] * len(costs)
        for stage in reversed(range(len(costs))):
            rest = 0.0 if self.exit_of[stage] >= 0 else min(total[after] for after in self.after[stage])
            total[stage] = costs[stage] + rest
        return total


def _dearest_way(macs: Sequence[int], after: Sequence[Sequence[int]]) -> list[int]:
    """Stages of the walk of the most MACs from stage 0 to a last stage."""
    total = [0] * len(macs)
    for stage in reversed(range(len(macs))):
        total[stage] = macs[stage] + max((total[place] for place in after[stage]), default=0)
    way = [0]
    while after[way[-1]]:
        way.append(max(after[way[-1]], key=total.__getitem__))
    return way
