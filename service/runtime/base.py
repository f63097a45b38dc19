"""What runs a stage: the contract between the executor and a device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from service.core import Walker

Outputs = Mapping[str, NDArray[Any]]
"""A stage's outputs by tensor name, [rows, ...]. Views of buffers: valid until the lane's next batch."""


class Runner(Protocol):
    """The stages of all models on one lane. One thread uses it at a time."""

    def run(self, model: str, stage: int, walkers: Sequence[Walker]) -> Outputs:
        """Run a stage on the walkers' state and glimpses; row i belongs to walker i."""

    def keep(self, model: str, stage: int, walkers: Sequence[Walker], rows: Sequence[int]) -> None:
        """Store the last outputs' state tensors of these rows for the walkers that go on."""
