"""The loss of a multi-exit network: cross-entropy at every exit, and earlier exits taught by the ensemble."""

from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Loss(Protocol):
    """A dataclass, so that it is part of a plan, that turns a network's answers in training into a scalar."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    def __call__(self, answers: list[Tensor], labels: Tensor) -> Tensor:
        """Logits [b, classes] and labels int64 [b] to a scalar."""


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
            parts += [self.distillation * taught(logits, teacher, self.temperature) for logits in answers[:-1]]
        return torch.stack(parts).sum()


@dataclass(frozen=True)
class InPlaceLoss:
    """In-place distillation (Yu & Huang, ICCV 2019): the last answer learns from labels and teaches all the others.

    They see `labels_share` of the labels' cross-entropy and `distillation` x T^2 x KL(last || own).
    """

    smoothing: float = 0.0
    labels_share: float = 0.5
    distillation: float = 0.5
    temperature: float = 2.0

    def __call__(self, answers: list[Tensor], labels: Tensor) -> Tensor:
        """Logits [b, classes], the teacher's last, and labels int64 [b] to a scalar."""
        *learners, last = answers
        total = F.cross_entropy(last, labels, label_smoothing=self.smoothing)
        teacher = last.detach()
        for logits in learners:
            total = total + self.labels_share * F.cross_entropy(logits, labels, label_smoothing=self.smoothing)
            total = total + self.distillation * taught(logits, teacher, self.temperature)
        return total


def taught(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 x KL(teacher || own), both softened by the temperature (Hinton et al., 2015)."""
    goal = F.log_softmax(teacher / temperature, dim=1)
    own = F.log_softmax(logits / temperature, dim=1)
    return temperature**2 * F.kl_div(own, goal, reduction="batchmean", log_target=True)
