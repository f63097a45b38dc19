"""Boxes around things: answers are float32 [boxes, 6], each row label, probability, then top, left, bottom, right.

Edges are shares 0..1 of the picture that the model sees: the whole input covered and cut at its centre to the model's
aspect. A row of probability 0 is no box; graphs have a fixed number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.task.base import Answer, Column, MapForm

BOX, LABEL, PROBABILITY = "box", "label", "probability"
SHOWN = 0.5
"""The least probability of a box that counts as answered."""
MATCH = 0.5
"""The least intersection over union of two boxes that are taken for one thing."""


class Detection:
    """See `Task`."""

    counted = False

    def sizes(self, labels: int) -> tuple[int | None, ...]:
        """See `Task.sizes`."""
        return (None, 6)

    def kept(self, answer: Answer) -> Answer:
        """The boxes that count, likeliest first: float32 [k, 6]."""
        boxes = answer[answer[:, 1] >= SHOWN]
        return boxes[np.argsort(-boxes[:, 1], kind="stable")]

    def loss(self, one: Any, other: Any) -> float:
        """1 - F1 of the boxes of one matched with those of the other; 0 if neither has any."""
        total = len(one) + len(other)
        return 1.0 - 2.0 * matched(one, other) / total if total else 0.0

    def document(self, answer: Answer, labels: Sequence[str], form: MapForm) -> dict[str, Any]:
        """Boxes, likeliest first; `box` is top, left, bottom, right."""
        return {
            "boxes": [
                {
                    "label": labels[int(row[0])],
                    "probability": round(float(row[1]), 6),
                    "box": [round(float(edge), 5) for edge in row[2:]],
                }
                for row in self.kept(answer)
            ]
        }

    def headline(self, document: dict[str, Any]) -> str:
        """See `Task.headline`."""
        boxes = document["boxes"]
        names = [one["label"] for one in boxes]
        counts = [f"{names.count(name)} {name}" for name in dict.fromkeys(names)]
        return ", ".join(counts) or "nothing"

    def columns(self, labels: int) -> Sequence[Column]:
        """See `Task.columns`."""
        return [Column(LABEL, "FP32", (-1,)), Column(PROBABILITY, "FP32", (-1,)), Column(BOX, "FP32", (-1, 4))]

    def tensor(self, name: str, answers: Answer, labels: Sequence[str]) -> NDArray[Any] | list[bytes]:
        """See `Task.tensor`; labels as numbers, since a row may hold no box."""
        return answers[..., 2:] if name == BOX else answers[..., int(name == PROBABILITY)]


def matched(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> int:
    """How many of the boxes [k, 6], likeliest first, find one of the others [m, 6] of their label, each at most one."""
    if not len(boxes) or not len(others):
        return 0
    close = overlap(boxes[:, 2:], others[:, 2:]) * (boxes[:, :1] == others[:, 0])
    found = 0
    for row in close:
        best = int(row.argmax())
        if row[best] >= MATCH:
            close[:, best] = 0.0
            found += 1
    return found


def overlap(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of every box [k, 4] with every other [m, 4]: float64 [k, m]."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.maximum(high - low, 0.0).prod(axis=2).astype(np.float64)
    areas = [np.maximum(one[:, 2:] - one[:, :2], 0.0).prod(axis=1) for one in (boxes, others)]
    joint = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(shared / np.maximum(joint, 1e-12))
