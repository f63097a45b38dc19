"""The loss of a multi-exit network: cross-entropy at every exit, and earlier exits taught by the ensemble."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Loss = Callable[[Any, Tensor], Tensor]
"""What a network gives in training, and labels int64 [b], to a scalar; a dataclass, so that a plan shows it."""


@dataclass(frozen=True)
class ExitLoss:
    """Sum over the exits of cross-entropy (with `smoothing`) and `distillation` x T^2 x KL(teacher || exit).

    Teacher: the mean of the last exit's logits and of all exits' logits, detached: the ensemble of the exits errs less
    often than the last one alone (self-distillation: Phuong & Lampert, ICCV 2019). The last exit learns from labels.
    """

    smoothing: float = 0.0
    distillation: float = 0.5
    temperature: float = 2.0

    def __call__(self, answers: list[Tensor], labels: Tensor) -> Tensor:
        """Logits [b, classes] of each exit and labels int64 [b] to a scalar."""
        parts = [F.cross_entropy(logits, labels, label_smoothing=self.smoothing) for logits in answers]
        if self.distillation and len(answers) > 1:
            teacher = (answers[-1] + torch.stack(answers).mean(0)).detach() / 2
            parts += [self.distillation * self._teach(teacher, logits) for logits in answers[:-1]]
        return torch.stack(parts).sum()

    def _teach(self, teacher: Tensor, logits: Tensor) -> Tensor:
        goal = F.log_softmax(teacher / self.temperature, dim=1)
        own = F.log_softmax(logits / self.temperature, dim=1)
        return self.temperature**2 * F.kl_div(own, goal, reduction="batchmean", log_target=True)
