"""A class for every pixel: answers are float32 [2, height, width], the class's number and its probability.

Not a probability for each class: at the size of a frame that would be ten times as much to move between stages, lanes
and answers. So a graph calibrates its own probabilities, and takes the arg max itself.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.task.base import Answer, Column, MapForm
from service.task.maps import png, runs

MAP, PROBABILITY = "map", "probability"


class Segmentation:
    """See `Task`."""

    counted = False

    def sizes(self, labels: int) -> tuple[int | None, ...]:
        """See `Task.sizes`."""
        return (2, None, None)

    def kept(self, answer: Answer) -> NDArray[np.uint8]:
        """The map of classes, uint8 [height, width]."""
        return np.asarray(answer[0], np.uint8)

    def loss(self, one: Any, other: Any) -> float:
        """Share of the pixels that differ."""
        return float(np.mean(one != other))

    def document(self, answer: Answer, labels: Sequence[str], form: MapForm) -> dict[str, Any]:
        """The classes' shares of the area, largest first, and the map."""
        classes = self.kept(answer)
        counts = np.bincount(classes.ravel(), minlength=len(labels))
        sums = np.bincount(classes.ravel(), weights=answer[1].ravel(), minlength=len(labels))
        found = [place for place in np.argsort(-counts, kind="stable").tolist() if counts[place]]
        shown: dict[str, Any] = {
            "classes": [
                {
                    "label": labels[place],
                    "share": round(float(counts[place] / classes.size), 6),
                    "probability": round(float(sums[place] / counts[place]), 6),
                }
                for place in found
            ]
        }
        return shown if form == "none" else {**shown, MAP: _drawn(classes, form)}

    def headline(self, document: dict[str, Any]) -> str:
        """See `Task.headline`."""
        return ", ".join(f"{one['label']} {one['share']:.1%}" for one in document["classes"][:3])

    def columns(self, labels: int) -> Sequence[Column]:
        """See `Task.columns`."""
        return [Column(MAP, "UINT8", (-1, -1)), Column(PROBABILITY, "FP32", (-1, -1))]

    def tensor(self, name: str, answers: Answer, labels: Sequence[str]) -> NDArray[Any] | list[bytes]:
        """See `Task.tensor`."""
        return answers[:, 0].astype(np.uint8) if name == MAP else answers[:, 1]


def _drawn(classes: NDArray[np.uint8], form: MapForm) -> dict[str, Any]:
    height, width = classes.shape
    size = {"height": height, "width": width}
    if form == "png":
        return {**size, "png": base64.b64encode(png(classes)).decode()}
    return {**size, "runs": runs(classes)}
