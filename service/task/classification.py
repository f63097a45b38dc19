"""One label for an input: answers are float32 [labels], calibrated probabilities."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from service.task.base import Answer, Column, MapForm

LABEL, PROBABILITY = "label", "probability"
_TOP = 5


class Classification:
    """See `Task`."""

    counted = True

    def sizes(self, labels: int) -> tuple[int | None, ...]:
        """See `Task.sizes`."""
        return (labels,)

    def kept(self, answer: Answer) -> int:
        """The class answered."""
        return int(answer.argmax())

    def loss(self, one: Any, other: Any) -> float:
        """1 for another class."""
        return float(one != other)

    def document(self, answer: Answer, labels: Sequence[str], form: MapForm) -> dict[str, Any]:
        """The most probable label, and those behind it."""
        order = answer.argsort()[::-1][:_TOP].tolist()
        top = [{"label": labels[place], "probability": round(float(answer[place]), 6)} for place in order]
        return {**top[0], "top": top}

    def headline(self, document: dict[str, Any]) -> str:
        """See `Task.headline`."""
        return ", ".join(f"{one['label']} {one['probability']:.1%}" for one in document["top"][:3])

    def columns(self, labels: int) -> Sequence[Column]:
        """See `Task.columns`."""
        return [Column(LABEL, "BYTES", ()), Column(PROBABILITY, "FP32", (labels,))]

    def tensor(self, name: str, answers: Answer, labels: Sequence[str]) -> NDArray[Any] | list[bytes]:
        """See `Task.tensor`."""
        return answers if name == PROBABILITY else [labels[place].encode() for place in answers.argmax(axis=1)]
