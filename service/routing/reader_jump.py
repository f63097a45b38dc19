"""A reader that jumps: a policy tells where reading on helps most, from either end, with chunks left out between.

LSTM-Jump (ACL 2017) samples how far to jump, and learns it by reinforcement. Here the graph tells what each jump is
expected to bring, measured on held-out texts; the walk takes the best, and stops by the same rule as `reader-stop`.
What was left out can be come back to, so that a walk that nothing stops reads it all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.package.load import Package
from service.routing.base import Routing, register
from service.routing.reading import JUMPS, Course, Stops, looks, unread

_SKIPPED = np.array([skipped for skipped, _ in JUMPS], np.float32)
_BACK = np.array([back for _, back in JUMPS], bool)


@register("reader-jump")
class ReaderJump:
    """Reads where `jumps` of the graph, float32 [rows, len(JUMPS)], is largest, at any price. Tables: see `Stops`."""

    def __init__(self, package: Package) -> None:
        self._course, self._stops = Course.of(package), Stops.of(package)

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The signals: what each jump is expected to bring, how many chunks the best leaves out, if
        from the back, and how many are unread.
        """
        course = self._course
        lap = course.lap[stage]
        answer, score = self._stops.answer(outputs[course.answer[stage]], lap)
        left = unread(outputs[course.done], outputs["size"][:, 0])
        rest = left.sum(axis=1).astype(np.float32)
        worth = self._stops.worth(lap, rest, score)
        if course.on[stage] < 0:
            worth = np.full(len(prices), -np.inf)
        stays = worth > prices
        way = best_jump(outputs["jumps"], rest)
        skipped, back = _SKIPPED[way], _BACK[way]
        return Routing(
            course.following(stage, stays),
            answer,
            score,
            worth,
            {"jumps": outputs["jumps"], "leaves_out": skipped, "from_back": back.astype(np.float32), "unread": rest},
            look=looks(stays, landing(left, skipped, back)),
            full=course.full(outputs),
        )


def best_jump(jumps: NDArray[np.floating], rest: NDArray[np.floating]) -> NDArray[np.intp]:
    """Index of the jump that brings most, of those that end within what is unread: int [rows]."""
    possible = np.maximum(rest, 1)[:, None] > _SKIPPED
    chosen: NDArray[np.intp] = np.where(possible, jumps, -np.inf).argmax(axis=1)
    return chosen


def landing(left: NDArray[np.bool_], skipped: NDArray[np.floating], back: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The chunk where a jump ends: int [rows].

    Args:
        left: [rows, MARKS], which chunks are unread.
        skipped: [rows], how many of them are left out.
        back: [rows], counted from the back.
    """
    from_front = left.cumsum(axis=1) - 1
    from_back = left.sum(axis=1, keepdims=True) - 1 - from_front
    found: NDArray[np.intp] = (left & (np.where(back[:, None], from_back, from_front) == skipped[:, None])).argmax(
        axis=1
    )
    return found
