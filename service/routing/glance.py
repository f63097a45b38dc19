"""Glance and focus: a small copy of the whole picture first, then crops of the full one while that is worth its price.

After RAM (Mnih et al., NeurIPS 2014) and GFNet (Wang et al., NeurIPS 2020): the answer stands after every look, and
the glance tells where to look next. A crop is an affine glimpse with scale and place but no rotation (a spatial
transformer, Jaderberg et al., NeurIPS 2015, whose sampling the host does from the full picture). The candidates are
fixed boxes; the network scores them, and this router walks down the ranking, leaving out boxes that overlap one
already seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.errors import PackageError
from service.package.load import Package
from service.package.manifest import FILE
from service.routing.base import LEAVE, Routing, register
from service.routing.early_exit import EarlyExit

OVERLAP = 0.5
"""Share of its union with a box already seen from which on a candidate is left for last."""
_SEEN, _OVERLAPPING = 1e9, 1e6


@register("glance")
class Glance(EarlyExit):
    """A chain of looks, each with an exit, with the tables of `early-exit`.

    Parameters: `where` names the output with the candidates' scores, float32 [rows, C], made by the glance and repeated
    by every look. Tables: `boxes` float32 [C, 4], their top, left, bottom, right in 0..1.
    """

    def __init__(self, package: Package) -> None:
        super().__init__(package)
        self._where = _where(package)
        self._boxes = _boxes(package)
        self._overlap = overlaps(self._boxes) > OVERLAP
        self._last = len(package.graph.names) - 1

    def route(self, stage: int, outputs: Mapping[str, NDArray[Any]], prices: NDArray[np.float64]) -> Routing:
        """See `Router.route`. The n-th look of a walk goes to the n-th box of its ranking."""
        routing = super().route(stage, outputs, prices)
        if stage == self._last:
            return routing
        scores = outputs[self._where]
        chosen = ranked(scores, self._overlap, stage + 1)[:, stage]
        look = [
            None if after == LEAVE else self._boxes[box][None]
            for after, box in zip(routing.next.tolist(), chosen.tolist(), strict=True)
        ]
        signals = {"where": np.take_along_axis(scores, chosen[:, None], axis=1)[:, 0]}
        return routing._replace(look=look, signals=signals)


def ranked(scores: NDArray[np.floating], overlap: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """The first `count` candidates of each row, int64 [rows, count]: best first, those that overlap a chosen one last.

    Args:
        scores: [rows, C].
        overlap: bool [C, C].
        count: at most C.
    """
    left = scores.astype(np.float64)
    chosen = np.empty((len(scores), count), np.int64)
    for place in range(count):
        best = left.argmax(axis=1)
        chosen[:, place] = best
        left -= _OVERLAPPING * overlap[best]
        left[np.arange(len(left)), best] -= _SEEN
    return chosen


def overlaps(boxes: NDArray[np.float32]) -> NDArray[np.float64]:
    """Intersection over union of each pair of boxes [C, 4]: float64 [C, C]."""
    top, left, bottom, right = boxes.astype(np.float64).T
    tall = np.minimum(bottom[:, None], bottom) - np.maximum(top[:, None], top)
    wide = np.minimum(right[:, None], right) - np.maximum(left[:, None], left)
    shared = np.maximum(tall, 0) * np.maximum(wide, 0)
    area = (bottom - top) * (right - left)
    return np.asarray(shared / (area[:, None] + area - shared))


def _where(package: Package) -> str:
    """Name of the output with the scores, which every stage but the last has to have."""
    name = package.manifest.router.parameters.get("where")
    for stage in package.manifest.stages:
        if name not in stage.outputs:
            problem = f"stage {stage.name!r} has no output {name!r}, which scores the candidates"
            raise PackageError(package.path / FILE, "router.parameters.where", problem, "name one that all stages have")
    return str(name)


def _boxes(package: Package) -> NDArray[np.float32]:
    """The candidates, once they are known to be boxes, and enough for all looks."""
    boxes = package.tables.get("boxes", np.empty(0, np.float32))
    fits = (
        boxes.ndim == 2
        and boxes.shape[1:] == (4,)
        and len(boxes) >= len(package.graph.names) - 1
        and bool(np.all((boxes >= 0) & (boxes <= 1)) and np.all(boxes[:, 2:] > boxes[:, :2]))
    )
    if not fits:
        problem = f"shape {boxes.shape}, or values that are no boxes in 0..1, one or more for each look"
        file = package.path / package.manifest.calibration.file
        raise PackageError(file, "boxes", problem, "make it again with the package's recipe")
    return boxes.astype(np.float32)
