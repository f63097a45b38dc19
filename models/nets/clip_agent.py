"""The agent: a recurrent state and a memory of small pictures name the next moment (AdaFrame, Wu et al., CVPR 2019)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.export import GraphStage, StagePorts
from models.nets.clips import FEATURES, THUMB_FEATURES, PoolHead, Scorer

HIDDEN = 96
MOMENTS = 16
LOOKED = -1e4
"""Added to what speaks for a moment once it was looked at."""
SEEN = 3 * THUMB_FEATURES


class Policy(nn.Module):
    """What speaks for each moment, from the state and from what the small pictures show there."""

    def __init__(self) -> None:
        super().__init__()
        self.state, self.memory = nn.Linear(HIDDEN, 32), nn.Linear(SEEN + 2, 32)
        self.out = nn.Linear(32, 1)
        self.register_buffer("places", torch.linspace(-1, 1, MOMENTS))
        self.places: Tensor

    def forward(self, hidden: Tensor, memory: Tensor, looked: Tensor) -> Tensor:
        """State [rows, 96], memory [rows, 16, 96] and where was looked [rows, 16] to float32 [rows, 16]."""
        gap = (self.places[:, None] - self.places[None, :]).abs()
        nearest = (gap[None] + 4 * (1 - looked[:, None, :])).amin(dim=2)
        place = self.places[None, :].expand_as(looked)
        told = torch.cat([memory, nearest[:, :, None], place[:, :, None]], dim=2)
        where: Tensor = self.out(torch.tanh(self.memory(told) + self.state(hidden)[:, None, :]))[:, :, 0]
        return where + looked * LOOKED


class Mind(nn.Module):
    """All that the agent learns."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.scorer = Scorer()
        self.narrow = nn.Linear(FEATURES, HIDDEN)
        self.cell = nn.GRUCell(HIDDEN + classes + MOMENTS, HIDDEN)
        self.policy, self.more = Policy(), nn.Linear(HIDDEN, classes)
        self.settled = nn.Sequential(nn.Linear(HIDDEN + classes + 1, 32), nn.ReLU(), nn.Linear(32, 1))
        nn.init.zeros_(self.more.weight)
        nn.init.zeros_(self.more.bias)

    def step(self, features: Tensor, pooled: Tensor, count: Tensor, hidden: Tensor, here: Tensor) -> tuple[Tensor, ...]:
        """Next hidden state [rows, 96], logits [rows, classes] and the logit of `settled` [rows, 1].

        Args:
            features: of the frame, [rows, 1280].
            pooled: logits of all frames so far, [rows, classes].
            count: frames so far, [rows, 1].
            hidden: state, [rows, 96].
            here: one-hot, which moment this is, [rows, 16].
        """
        told = torch.cat([torch.tanh(self.narrow(features)), torch.softmax(pooled, dim=1), here], dim=1)
        hidden = self.cell(told, hidden)
        logits = pooled + self.more(hidden)
        settled = self.settled(torch.cat([hidden, torch.softmax(logits, dim=1), 1 / count], dim=1))
        return hidden, logits, settled


class ScanMemory(GraphStage):
    """Small pictures of the whole clip into the memory, and the first moment."""

    def __init__(self, mind: Mind) -> None:
        super().__init__()
        self.mind, self.name, self.ports = mind, "scan", StagePorts(("thumbs",), ("memory", "where"))

    def forward(self, thumbs: Tensor) -> tuple[Tensor, Tensor]:
        """uint8 [rows, 16, 32, 40, 3] to memory float32 [rows, 16, 96] and `where` [rows, 16]."""
        memory = self.mind.scorer.seen(thumbs)
        blank = torch.zeros_like(memory[:, 0, :HIDDEN])
        return memory, self.mind.policy(blank, memory, torch.zeros_like(memory[:, :, 0]))


class Think(GraphStage):
    """A frame's features into the state: an answer, the next moment, and whether the answer is settled."""

    def __init__(self, mind: Mind, head: PoolHead) -> None:
        super().__init__()
        self.mind, self.head, self.name = mind, head, "think"
        self.ports = StagePorts(
            ("features", "best", "total", "count", "hidden", "visited", "memory", "before"),
            ("best_next", "total_next", "count_next", "hidden_next", "visited_next", "where", "settled", "logits"),
        )

    def forward(
        self,
        features: Tensor,
        best: Tensor,
        total: Tensor,
        count: Tensor,
        hidden: Tensor,
        looked: Tensor,
        memory: Tensor,
        before: Tensor,
    ) -> tuple[Tensor, ...]:
        """State and features to the next state, `where` [rows, 16], `settled` [rows, 1] in 0..1, and logits."""
        here = (before >= before.amax(dim=1, keepdim=True)).float()
        best, total, count = torch.maximum(best, features), total + features, count + 1
        pooled = self.head(best, total / count)
        hidden, logits, settled = self.mind.step(features, pooled, count, hidden, here)
        looked = torch.maximum(looked, here)
        where = self.mind.policy(hidden, memory, looked)
        return best, total, count, hidden, looked, where, torch.sigmoid(settled), logits
