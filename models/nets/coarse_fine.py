"""A coarse network at every moment beside the backbone that is asked for (LiteEval, Wu et al., NeurIPS 2019).

Each has a part of the state of its own; where the fine network doesn't run, only the coarse part is updated.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.export import GraphStage, StagePorts
from models.nets.clips import PoolHead
from models.nets.lite0 import Lite0

COARSE_STEP = 4
"""The coarse network is the backbone's own first five steps, on a small frame."""
COARSE_FEATURES = 112


class Gate(nn.Module):
    """How much the fine network would bring now: from what is answered, and how far this moment is from those
    before."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(classes + COARSE_FEATURES + 2, 32), nn.ReLU(), nn.Linear(32, 1))

    def forward(self, logits: Tensor, apart: Tensor, looked: Tensor, asked: Tensor) -> Tensor:
        """Answer so far [rows, classes], |features - mean before| [rows, 112] and how often each net ran [rows, 1]
        each, to logits [rows, 1]."""
        told = torch.cat([torch.softmax(logits, dim=1), apart, 1 / (1 + looked), 1 / (1 + asked)], dim=1)
        ask: Tensor = self.layers(told)
        return ask


class Coarse(GraphStage):
    """The coarse network: a small frame into the coarse part of the state, an answer, and the gate."""

    def __init__(self, net: Lite0, head: PoolHead, share: float, gate: Gate) -> None:
        super().__init__()
        self.net, self.head, self.gate, self.name = net, head, gate, "coarse"
        self.share = share
        self.ports = StagePorts(
            ("small", "c_best", "c_total", "c_count", "f_logits", "count"),
            ("c_best_next", "c_total_next", "c_count_next", "c_logits", "ask", "logits"),
        )

    def forward(
        self, small: Tensor, best: Tensor, total: Tensor, count: Tensor, fine: Tensor, asked: Tensor
    ) -> tuple[Tensor, ...]:
        """uint8 [rows, 64, 80, 3] and state to the next state, `ask` float32 [rows, 1] in 0..1, and logits."""
        return self.updated(self.net(small), best, total, count, fine, asked)

    def updated(
        self, features: Tensor, best: Tensor, total: Tensor, count: Tensor, fine: Tensor, asked: Tensor
    ) -> tuple[Tensor, ...]:
        """The same from the coarse network's features [rows, 112]."""
        apart = (features - total / count.clamp(min=1)).abs()
        first = (count == 0).float()
        best = torch.maximum(best, features) * (1 - first) + features * first  # these features may be negative
        total, count = total + features, count + 1
        coarse = self.head(best, total / count)
        logits = combined(coarse, fine, asked, self.share)
        ask = torch.sigmoid(self.gate(logits, apart, count, asked))
        return best, total, count, coarse, ask, logits


class Merge(GraphStage):
    """What the fine network brought goes into its part of the state; the answer reads both parts."""

    def __init__(self, head: PoolHead, share: float) -> None:
        super().__init__()
        self.head, self.share, self.name = head, share, "merge"
        self.ports = StagePorts(
            ("features", "best", "total", "count", "c_logits"),
            ("best_next", "total_next", "count_next", "f_logits", "logits"),
        )

    def forward(
        self, features: Tensor, best: Tensor, total: Tensor, count: Tensor, coarse: Tensor
    ) -> tuple[Tensor, ...]:
        """Features and state to the next state and logits."""
        best, total, count = torch.maximum(best, features), total + features, count + 1
        fine = self.head(best, total / count)
        return best, total, count, fine, combined(coarse, fine, count, self.share)


def combined(coarse: Tensor, fine: Tensor, asked: Tensor, share: float) -> Tensor:
    """The coarse logits alone before the fine network has run, then the fine ones with a share of the coarse."""
    ran = (asked > 0).float()
    return fine * ran + coarse * (1 - ran * (1 - share))
