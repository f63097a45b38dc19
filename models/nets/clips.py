"""Stages of the networks that read clips: a backbone for single frames, and small parts around it that each family
adds.

All pool what frames brought by maximum and by mean, and read both with one linear layer: what a walk knows doesn't
depend on the order in which it looked, so one backbone graph and one kind of head serve every router.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.export import GraphStage, StagePorts
from models.nets.lite0 import Lite0

FRAME = (160, 208)
"""Height and width of the frames that the backbone sees: all but three columns a side of a 214x160 clip."""
WIDE = (192, 256)
"""Of those that wagon-monitor's backbone sees: its clips as they are stored."""
THUMB = (32, 40)
"""Of the pictures that peeks and scorers see."""
COARSE = (64, 80)
"""Of the frames that the coarse network sees."""
FEATURES = 1280
THUMB_FEATURES = 32


class See(GraphStage):
    """The backbone: a frame to its features. The same graph in every package whose frames have one size."""

    def __init__(self, net: Lite0, picture: str = "frame") -> None:
        """`picture` is the port's name, which tells the size (models/nets/clip_ports.py)."""
        super().__init__()
        self.net, self.name, self.ports = net, "see", StagePorts((picture,), ("features",))

    def forward(self, frame: Tensor) -> Tensor:
        """uint8 [rows, height, width, 3] to float32 [rows, 1280], none negative."""
        features: Tensor = self.net(frame)
        return features


def rooted(pooled: Tensor) -> Tensor:
    """Square roots that keep the sign: a few strong features don't drown the many weak ones."""
    return torch.sign(pooled) * torch.sqrt(torch.abs(pooled))


class PoolHead(nn.Module):
    """Classes from the maximum and the mean of what frames brought: one linear layer on their roots."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """Weight [classes, 2 x features] and bias [classes]."""
        super().__init__()
        self.linear = nn.Linear(weight.shape[1], weight.shape[0]).requires_grad_(False)
        self.linear.weight.copy_(weight)
        self.linear.bias.copy_(bias)

    def forward(self, best: Tensor, mean: Tensor) -> Tensor:
        """float32 [rows, features] each to logits [rows, classes]."""
        logits: Tensor = self.linear(rooted(torch.cat([best, mean], dim=1)))
        return logits

    def over(self, frames: Tensor) -> Tensor:
        """The same of frames [rows, k, features]."""
        logits: Tensor = self(frames.amax(dim=1), frames.mean(dim=1))
        return logits


class Pool(GraphStage):
    """What a frame brought goes into the state, and an answer comes out of it."""

    def __init__(self, head: PoolHead) -> None:
        super().__init__()
        self.head, self.name = head, "pool"
        self.ports = StagePorts(
            ("features", "best", "total", "count"), ("best_next", "total_next", "count_next", "logits")
        )

    def forward(self, features: Tensor, best: Tensor, total: Tensor, count: Tensor) -> tuple[Tensor, ...]:
        """Features and state float32 [rows, 1280] and [rows, 1] to the next state and logits."""
        best, total, count = torch.maximum(best, features), total + features, count + 1
        return best, total, count, self.head(best, total / count)


class ThumbNet(nn.Module):
    """A very small network for very small pictures: float32 [rows, 32] of each."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 12, 4, stride=4)
        self.mix = nn.Conv2d(12, 24, 3, stride=2, padding=1)
        self.flat = nn.Linear(24 * 4 * 5, THUMB_FEATURES)

    def forward(self, thumb: Tensor) -> Tensor:
        """uint8 [rows, 32, 40, 3] to float32 [rows, 32]."""
        maps = (thumb.permute(0, 3, 1, 2).float() - 127.0) / 64.0
        maps = functional.relu(self.mix(functional.relu(self.patches(maps))))
        told: Tensor = self.flat(maps.flatten(1))
        return told


class Scorer(nn.Module):
    """A score for each of the small pictures of a clip, seen beside the others."""

    def __init__(self) -> None:
        super().__init__()
        self.thumbs = ThumbNet()
        self.score = nn.Sequential(nn.Linear(3 * THUMB_FEATURES, 32), nn.ReLU(), nn.Linear(32, 1))

    def seen(self, thumbs: Tensor) -> Tensor:
        """uint8 [rows, moments, 32, 40, 3] to what is known of each moment: float32 [rows, moments, 96]."""
        told = self.thumbs(thumbs.flatten(0, 1)).reshape(thumbs.shape[0], thumbs.shape[1], THUMB_FEATURES)
        apart = told - told.mean(dim=1, keepdim=True)
        step = told[:, 1:] - told[:, :-1]
        moved = torch.cat([step[:, :1], step], dim=1).abs() + torch.cat([step, step[:, -1:]], dim=1).abs()
        return torch.cat([told, apart, moved], dim=2)

    def forward(self, thumbs: Tensor) -> Tensor:
        """uint8 [rows, moments, 32, 40, 3] to scores float32 [rows, moments]."""
        scores: Tensor = self.score(self.seen(thumbs))[:, :, 0]
        return scores


class ScanShares(GraphStage):
    """The scorer of key frames: what share of what there is to know each moment has."""

    def __init__(self, scorer: Scorer) -> None:
        super().__init__()
        self.scorer, self.name, self.ports = scorer, "scan", StagePorts(("thumbs",), ("share",))

    def forward(self, thumbs: Tensor) -> Tensor:
        """uint8 [rows, 16, 32, 40, 3] to float32 [rows, 16] that add up to 1."""
        return torch.softmax(self.scorer(thumbs), dim=1)


class Assemble(GraphStage):
    """An answer from the rows that were seen; those that weren't are all zero, which no seen row is."""

    def __init__(self, head: PoolHead) -> None:
        super().__init__()
        self.head, self.name, self.ports = head, "assemble", StagePorts(("seen",), ("logits",))

    def forward(self, seen: Tensor) -> Tensor:
        """float32 [rows, 16, 1280] to logits; features aren't negative, so zeros are neutral for the maximum."""
        count = (seen.amax(dim=2) > 0).float().sum(dim=1, keepdim=True)
        logits: Tensor = self.head(seen.amax(dim=1), seen.sum(dim=1) / count)
        return logits


States = Mapping[str, Tensor]
