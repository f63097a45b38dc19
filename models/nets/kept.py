"""Skipped updates: a thumbnail held against those of the frames that were seen, and pools that only these enter.

After Skip RNN (Campos et al., ICLR 2018): where nothing is new the state is copied, and the expensive part does not
run. There the state says so; here a picture of 32x40 does, which costs no multiply-adds worth counting.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.export import GraphStage, StagePorts
from models.nets.clips import rooted
from models.nets.peek import cells, distance, novelty

KEPT = 32
"""Frames that a walk may see."""


class PeekKept(GraphStage):
    """How likely a frame is to change the answer, by its distance to the nearest frame that was seen.

    State: `kept` float32 [rows, 32, 61], the thumbnails of the frames seen, the last first (`PoolKept` writes it).
    """

    def __init__(self, steepness: float, shift: float) -> None:
        super().__init__()
        self.name, self.ports = "peek", StagePorts(("thumb", "kept"), ("here", "novelty"))
        self.register_buffer("steepness", torch.tensor(steepness))
        self.register_buffer("shift", torch.tensor(shift))
        self.steepness: Tensor
        self.shift: Tensor

    def forward(self, thumb: Tensor, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Thumbnail uint8 [rows, 32, 40, 3] to its cells [rows, 60] and `novelty` float32 [rows, 1] in 0..1."""
        here = cells(thumb)
        return here, novelty(distance(here, kept), self.steepness, self.shift)


class SpreadHead(nn.Module):
    """Classes from maximum, mean and range of what frames brought.

    What moves shows in the range, which a single frame doesn't have: it is read by a layer of its own.
    """

    def __init__(self, one: tuple[Tensor, Tensor], many: tuple[Tensor, Tensor]) -> None:
        """Weight and bias of either layer: [classes, features] for one frame, [classes, 3 x features] for more."""
        super().__init__()
        self.one, self.many = _linear(*one), _linear(*many)

    def forward(self, best: Tensor, least: Tensor, mean: Tensor, count: Tensor) -> Tensor:
        """float32 [rows, features] each, and how many frames [rows, 1], to logits [rows, classes]."""
        return torch.where(count > 1, self.many(spread(best, least, mean)), self.one(rooted(mean)))

    def over(self, frames: Tensor, seen: Tensor | None = None) -> Tensor:
        """The same of frames [rows, k, features], or of those that were `seen` bool [rows, k]."""
        seen = torch.ones(frames.shape[:2], dtype=torch.bool) if seen is None else seen
        logits: Tensor = self(*pools(frames, seen), seen.sum(dim=1, keepdim=True).float())
        return logits


def pools(frames: Tensor, seen: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Maximum, minimum and mean over the frames seen: of [rows, k, f] and bool [rows, k], float32 [rows, f] each."""
    mask = seen[:, :, None]
    best = frames.masked_fill(~mask, -torch.inf).amax(dim=1)
    least = frames.masked_fill(~mask, torch.inf).amin(dim=1)
    return best, least, (frames * mask).sum(dim=1) / mask.sum(dim=1)


def spread(best: Tensor, least: Tensor, mean: Tensor) -> Tensor:
    """What `SpreadHead.many` reads: float32 [rows, 3 x features]."""
    return rooted(torch.cat([best, mean, best - least], dim=1))


class PoolKept(GraphStage):
    """What a frame brought goes into the state, its thumbnail among those kept, and an answer comes out."""

    def __init__(self, head: SpreadHead) -> None:
        super().__init__()
        self.head, self.name = head, "pool"
        states = ("kept", "best", "least", "total", "count")
        self.ports = StagePorts(("features", "here", *states), (*(f"{name}_next" for name in states), "logits"))

    def forward(
        self, features: Tensor, here: Tensor, kept: Tensor, best: Tensor, least: Tensor, total: Tensor, count: Tensor
    ) -> tuple[Tensor, ...]:
        """Features [rows, 1280], cells [rows, 60] and state to the next state and logits."""
        own = torch.cat([here, torch.ones_like(here[:, :1])], dim=1)
        kept = torch.cat([own[:, None], kept[:, :-1]], dim=1)
        # States begin as zeros: fine for a maximum of what is never negative, not for a minimum.
        least = torch.where(count > 0, torch.minimum(least, features), features)
        best, total, count = torch.maximum(best, features), total + features, count + 1
        return kept, best, least, total, count, self.head(best, least, total / count, count)


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    made = nn.Linear(weight.shape[1], weight.shape[0]).requires_grad_(False)
    made.weight.copy_(weight)
    made.bias.copy_(bias)
    return made
