"""Loops, unrolled: where a stage's `next` leads back, the stages between are laid out once a lap.

Scheduler and routers then see a graph that only ever goes forward; the copies of a stage share its graph, its session
and its times.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from service.package.stage import Stage

MOST_EXITS = 127
"""A record counts exits in int8."""


@dataclass(frozen=True, slots=True)
class Place:
    """A stage where a walk may stand.

    Attributes:
        stage: its description.
        index: which of the manifest's stages that is.
        lap: 1.. within a loop, 0 outside.
        name, exit, next: as the stage's own, with the lap behind them within a loop.
    """

    stage: Stage
    index: int
    lap: int
    name: str
    exit: str | None
    next: tuple[str, ...]


def body(stages: Sequence[Stage]) -> range:
    """Indexes of the stages that a loop goes through; empty without a way back."""
    index = {stage.name: place for place, stage in enumerate(stages)}
    back = [
        (place, index[after])
        for place, stage in enumerate(stages)
        for after in stage.next
        if index.get(after, place + 1) <= place
    ]
    return range(min(to for _, to in back), max(source for source, _ in back) + 1) if back else range(0)


def unrolled(stages: Sequence[Stage], laps: int) -> list[Place]:
    """The places of a walk, in walking order. Names in `next` that no stage has are left as they are."""
    loop = body(stages)
    index = {stage.name: place for place, stage in enumerate(stages)}
    order = [(place, 0) for place in range(loop.start if loop else len(stages))]
    order += [(place, lap) for lap in range(1, laps + 1) for place in loop]
    order += [(place, 0) for place in range(loop.stop, len(stages))] if loop else []

    def target(source: int, lap: int, after: str) -> str | None:
        to = index.get(after)
        if to is None or to not in loop:
            return after
        there = (lap or 1) if to > source or source not in loop else lap + 1
        return numbered(after, there) if there <= laps else None

    places = []
    for place, lap in order:
        stage = stages[place]
        following = (target(place, lap, after) for after in stage.next)
        places.append(
            Place(
                stage=stage,
                index=place,
                lap=lap,
                name=numbered(stage.name, lap),
                exit=stage.exit and numbered(stage.exit, lap),
                next=tuple(after for after in following if after is not None),
            )
        )
    return places


def numbered(name: str, lap: int) -> str:
    """The name of a stage or an exit in a lap: `read`, 2 is `read2`; `block1`, 2 is `block1-2`."""
    if not lap:
        return name
    return f"{name}-{lap}" if name[-1].isdigit() else f"{name}{lap}"
