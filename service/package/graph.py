"""The stage graph as arrays of numbers: what the scheduler and the routers need of a manifest, and no more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.package.manifest import Stage


@dataclass(frozen=True, slots=True)
class StageGraph:
    """Stages by index, in walking order.

    Attributes:
        names: stage names.
        macs: MACs of one row of each stage.
        after: for each stage the indexes that may follow; empty for a last stage.
        exits: exit names, in stage order.
        exit_of: for each stage the index of its exit, or -1.
        full_macs: MACs of the dearest walk, the denominator of every `fraction_of_full`.
    """

    names: tuple[str, ...]
    macs: tuple[int, ...]
    after: tuple[tuple[int, ...], ...]
    exits: tuple[str, ...]
    exit_of: tuple[int, ...]
    full_macs: int

    @classmethod
    def of(cls, stages: Sequence[Stage]) -> StageGraph:
        """Graph of a valid manifest's stages (names resolve, edges go forward)."""
        places = {stage.name: place for place, stage in enumerate(stages)}
        exits = tuple(stage.exit for stage in stages if stage.exit)
        macs = tuple(stage.macs_per_row for stage in stages)
        after = tuple(tuple(places[name] for name in stage.next) for stage in stages)
        return cls(
            names=tuple(stage.name for stage in stages),
            macs=macs,
            after=after,
            exits=exits,
            exit_of=tuple(exits.index(stage.exit) if stage.exit else -1 for stage in stages),
            full_macs=sum(macs[stage] for stage in _dearest_way(macs, after)),
        )

    @property
    def chain(self) -> bool:
        """Whether each stage but the last is followed by the next one and no other."""
        last = len(self.names) - 1
        return all(after == ((stage + 1,) if stage < last else ()) for stage, after in enumerate(self.after))

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
        return _dearest_way(self.macs, self.after)

    def to_next_exit(self, costs: Sequence[float]) -> list[float]:
        """For each stage, the least cost from its start to the end of the next stage with an exit, itself included.

        `costs` holds one cost a stage, in any unit: MACs, seconds.
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
