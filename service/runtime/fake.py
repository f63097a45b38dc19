"""A runner without networks: answers are written down, time is told. For tests and the replay of recorded walks."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from service.core import Walker
from service.runtime.base import Outputs


class FakeRunner:
    """Answers each stage from a function of (model, stage, walkers); remembers which rows were kept."""

    def __init__(self, answer: Callable[[str, int, Sequence[Walker]], Outputs]) -> None:
        self._answer = answer
        self.kept: list[tuple[str, int, list[Walker]]] = []

    def run(self, model: str, stage: int, walkers: Sequence[Walker]) -> Outputs:
        """See `Runner.run`."""
        return self._answer(model, stage, walkers)

    def keep(self, model: str, stage: int, walkers: Sequence[Walker], rows: Sequence[int]) -> None:
        """See `Runner.keep`."""
        self.kept.append((model, stage, [walkers[row] for row in rows]))
