"""What the server asks of a task, and which tasks there are.

The engine carries answers as arrays and never looks inside. Whoever has to (documents, tensors, certificates, audits)
asks the task of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

TaskName = Literal["classification", "segmentation", "detection"]
MapForm = Literal["runs", "png", "none"]
"""How a map of classes is put into JSON."""

Answer = NDArray[np.float32]
"""What a stage answered for one input, calibrated by the router."""


@dataclass(frozen=True, slots=True)
class Column:
    """One output of the Open Inference Protocol; `shape` without the first axis, -1 where the graph has its say."""

    name: str
    datatype: Literal["BYTES", "FP32", "UINT8"]
    shape: tuple[int, ...]


class Task(Protocol):
    """One kind of answer. Without state; all methods may be called from any thread.

    Attributes:
        counted: two answers agree or they don't, so that losses are counted. Else they agree to a share, 0..1.
    """

    counted: bool

    def sizes(self, labels: int) -> tuple[int | None, ...]:
        """Sizes that an answer's tensor has to have behind its first axis; None where the graph may choose."""

    def kept(self, answer: Answer) -> Any:
        """As much of an answer as it takes to compare it with another one later."""

    def loss(self, one: Any, other: Any) -> float:
        """How far two kept answers differ: 0 the same, 1 in nothing alike."""

    def document(self, answer: Answer, labels: Sequence[str], form: MapForm) -> dict[str, Any]:
        """The answer as JSON shows it."""

    def headline(self, document: dict[str, Any]) -> str:
        """The document in a few words."""

    def columns(self, labels: int) -> Sequence[Column]:
        """The outputs of the Open Inference Protocol, in order."""

    def tensor(self, name: str, answers: Answer, labels: Sequence[str]) -> NDArray[Any] | list[bytes]:
        """One of these outputs for answers [n, ...]."""
