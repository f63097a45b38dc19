"""The residual backbone of the networks that skip: three groups of blocks, each of which a walk may leave out.

A block adds to its map, x + f(x) (He et al. 2016), so a skipped one leaves x as it is, and the rest still works on
it (Veit et al., "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", NIPS 2016). It works well
only if the rest has seen such maps: in training, rows lose random blocks (stochastic depth, Huang et al. 2016).

Shapes below: b rows; maps are [b, channels, height, width]; `keep` is bool or float [b, blocks], 1 where a block runs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.nets.layers import ConvUnit, Head, Stem
from models.nets.network import Network


@dataclass(frozen=True)
class Shape:
    """Channels and blocks of each group; the groups work at 15, 7 and 3 px."""

    channels: tuple[int, int, int] = (32, 80, 192)
    blocks: tuple[int, int, int] = (3, 4, 3)


@dataclass(frozen=True)
class StochasticDepth:
    """Which rows lose blocks in training: a share `whole` none, the others each block with a rate up to `most`.

    The rate is drawn by row, uniform in 0..`most`, so that all depths are seen and not only the mean one.
    """

    whole: float = 0.4
    most: float = 0.8

    def draw(self, rows: int, blocks: int) -> Tensor:
        """`keep` float32 [rows, blocks]."""
        rate = torch.rand(rows, 1) * self.most * (torch.rand(rows, 1) >= self.whole)
        return (torch.rand(rows, blocks) >= rate).float()


class Block(nn.Module):
    """What a residual block adds to x, as large as x: two convolution units."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(ConvUnit(channels, channels), ConvUnit(channels, channels))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)  # type: ignore[no-any-return]


class Group(nn.Module):
    """A transition that always runs, and `blocks` that may be skipped."""

    def __init__(self, transition: nn.Module, channels: int, blocks: int) -> None:
        super().__init__()
        self.transition = transition
        self.blocks = nn.ModuleList(Block(channels) for _ in range(blocks))

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """The map after the blocks of the group; `keep` [b, blocks of the group], None: all run."""
        x = self.transition(x)
        for place, block in enumerate(self.blocks):
            x = x + (block(x) if keep is None else block(x) * keep[:, place, None, None, None])
        return x


class ResidualNet(Network):
    """Stem, three groups, one exit."""

    def __init__(self, shape: Shape, classes: int, depth: StochasticDepth | None = None) -> None:
        """`depth` is for training; None trains every block on every row."""
        super().__init__()
        self.shape, self.depth = shape, depth
        first, second, third = shape.channels
        self.stem = Stem()
        transitions = [
            ConvUnit(self.stem.channels, first, pool=2),
            ConvUnit(first, second, pool=2),
            ConvUnit(second, third, stride=2),
        ]
        self.groups = nn.ModuleList(
            Group(*parts) for parts in zip(transitions, shape.channels, shape.blocks, strict=True)
        )
        self.head = Head(third, None, classes)

    @property
    def exits(self) -> int:
        return 1

    @property
    def blocks(self) -> int:
        """How many blocks can be skipped."""
        return sum(self.shape.blocks)

    def forward(self, image: Tensor, keep: Tensor | None = None) -> list[Tensor]:
        """uint8 [b, 32, 32, 3] to the logits [b, classes] of the one exit; without `keep`, blocks drop as `depth` says.

        Evaluation without `keep` runs every block.
        """
        if keep is None and self.training and self.depth:
            keep = self.depth.draw(len(image), self.blocks)
        x = self.stem(image)
        parts = [None] * len(self.groups) if keep is None else keep.split(self.shape.blocks, dim=1)
        for group, part in zip(self.groups, parts, strict=True):
            x = group(x, part)
        return [self.head(x)]
