"""The residual backbone of the networks that skip: two groups of blocks, each of which a walk may leave out.

A block adds to its group's map, x + f(x) (He et al. 2016), and to the votes for each class, what a small head makes of
the map that it leaves. A skipped one leaves both as they are, and the rest still works on them (Veit et al., "Residual
Networks Behave Like Ensembles of Relatively Shallow Networks", NIPS 2016). It works well only if the rest has seen such
maps in training (stochastic depth, Huang et al. 2016).

It is grown on the shipped early-exit network (models/nets/pretrained.py), whose layers up to its third exit are all
here. Its first stage, with exit and all, always runs: the trunk. What follows is cut into blocks, even what isn't
residual there: the convolution that joins the fine map with the coarse one, and the one that widens the map.

Shapes below: b rows; maps are [b, channels, 7, 7], but for the trunk's fine one of 15 px.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from models.nets.layers import ConvNorm, ConvUnit, Fuse, Head
from models.nets.multi_exit import ChainStage, FirstStage, FusingStage, JoinedStage, MultiExitNet, Widths

BLOCKS = (3, 2)
"""Blocks of each group."""
COUNT = sum(BLOCKS)


class Standing(NamedTuple):
    """A group's `map`, and the `votes` (logits) [b, classes], as a walk has them now; or what a block adds to both."""

    map: Tensor
    votes: Tensor

    def plus(self, added: "Standing", weight: Tensor | float = 1.0) -> "Standing":
        """Both with what was added, times a weight, one number or float [b]."""
        if isinstance(weight, Tensor):
            return Standing(
                self.map + weight[:, None, None, None] * added.map, self.votes + weight[:, None] * added.votes
            )
        return Standing(self.map + weight * added.map, self.votes + weight * added.votes)


class Opened(NamedTuple):
    """What the trunk makes of images: two maps, `fine` of 15 px and `coarse` of 7 px, and its exit's `votes`."""

    fine: Tensor
    coarse: Tensor
    votes: Tensor

    def chunk(self, parts: int) -> "list[Opened]":
        """The rows in so many parts."""
        return [Opened(*part) for part in zip(*(tensor.chunk(parts) for tensor in self), strict=True)]


Adds = Callable[[Tensor], Standing]
"""A map to what a block adds."""
Through = Callable[[int, Standing, Sequence[Adds]], Standing]
"""A group, what it begins with, and its blocks, to what it ends with."""


class Turn(nn.Module):
    """The coarse map through a 1x1 convolution to the first group's, which nothing fine is in yet."""

    def __init__(self, coarse: nn.Module) -> None:
        super().__init__()
        self.coarse = coarse

    def forward(self, coarse: Tensor) -> Tensor:
        return F.silu(self.coarse(coarse))


class Join(nn.Module):
    """What the fine map [b, f, 15, 15] changes in the first group's map.

    With it the map is silu(fine part + coarse part), the early-exit network's, and without it silu(coarse part). The
    coarse part is made anew: that costs a twentieth of the fine one.
    """

    def __init__(self, fine: nn.Module, turn: Turn) -> None:
        super().__init__()
        self.fine, self.coarse = fine, turn.coarse

    def forward(self, fine: Tensor, coarse: Tensor, _: Tensor) -> Tensor:
        part = self.coarse(coarse)
        return F.silu(self.fine(fine) + part) - F.silu(part)


class Widen(nn.Module):
    """What a convolution from the first group's channels changes in the second's map, which begins padded with zeros.

    With it the map is the convolution's output, the early-exit network's.
    """

    def __init__(self, unit: nn.Module, narrow: int) -> None:
        super().__init__()
        self.unit, self.narrow = unit, narrow

    def forward(self, x: Tensor) -> Tensor:
        return self.unit(x[:, : self.narrow]) - x  # type: ignore[no-any-return]


class Block(nn.Module):
    """`adds` to the map; `head` votes on the map that this leaves."""

    def __init__(self, adds: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.adds, self.head = adds, head

    def forward(self, *maps: Tensor) -> Standing:
        """The group's map, last of `maps`, to what is added; the block that joins takes two others before it."""
        added = self.adds(*maps)
        return Standing(added, self.head(maps[-1] + added))


class Backbone(nn.Module):
    """A trunk that always runs and isn't trained further, and two groups of blocks that add to a map and to votes.

    `channels`: of the two groups' maps.
    """

    def __init__(
        self, trunk: FirstStage, turn: Turn, groups: Sequence[Sequence[Block]], channels: tuple[int, int]
    ) -> None:
        super().__init__()
        self.trunk, self.turn = trunk.requires_grad_(False), turn
        self.groups = nn.ModuleList(nn.ModuleList(blocks) for blocks in groups)
        self.channels = channels

    @classmethod
    def untrained(cls, widths: Widths, classes: int) -> "Backbone":
        """With norms and random weights, for tests: the recipes grow it on a trained network."""
        w = widths
        turn = Turn(ConvNorm(w.coarse, w.middle, kernel=1))
        adds: list[list[nn.Module]] = [
            [
                Join(ConvNorm(w.fine, w.middle, pool=2), turn),
                ConvUnit(w.middle, w.middle),
                ConvUnit(w.middle, w.middle),
            ],
            [Widen(ConvUnit(w.middle, w.late), w.middle), ConvUnit(w.late, w.late)],
        ]
        groups = [
            [Block(each, Head(width, None, classes)) for each in blocks]
            for width, blocks in zip((w.middle, w.late), adds, strict=True)
        ]
        return cls(FirstStage("open", w, Head(w.coarse, None, classes)), turn, groups, (w.middle, w.late))

    def block(self, group: int, place: int) -> Block:
        """A block of a group, `place` from 0 on."""
        block = self.groups[group][place]  # type: ignore[index]
        assert isinstance(block, Block)
        return block

    def blocks(self, group: int, opened: Opened) -> list[Adds]:
        """The blocks of a group, for rows that began so: the first of all joins the trunk's maps."""
        blocks: list[Adds] = [self.block(group, place) for place in range(BLOCKS[group])]
        return blocks if group else [partial(self.block(0, 0), opened.fine, opened.coarse), *blocks[1:]]

    @torch.no_grad()
    def open(self, image: Tensor) -> Opened:
        """uint8 [b, 32, 32, 3] to what the trunk makes of it."""
        assert self.trunk.head is not None
        made = self.trunk.features({"image": image})
        return Opened(made["fine"], made["coarse"], self.trunk.head(made["coarse"]))

    def begin(self, opened: Opened) -> Standing:
        """What the first group begins with."""
        return Standing(self.turn(opened.coarse), opened.votes)

    def widen(self, before: Standing) -> Standing:
        """What the second one begins with: the first one's map, zeros for further channels (He et al., option A)."""
        narrow, wide = self.channels
        blank = torch.zeros_like(before.map[:, :1]).expand(-1, wide - narrow, -1, -1)
        return Standing(torch.cat([before.map, blank], dim=1), before.votes)

    def walk(self, opened: Opened, through: Through) -> Tensor:
        """To logits [b, classes]; `through` runs what blocks of a group it likes."""
        middle = through(0, self.begin(opened), self.blocks(0, opened))
        last = through(1, self.widen(middle), self.blocks(1, opened))
        return last.votes

    @torch.no_grad()
    def shares(self) -> Tensor:
        """Cost of each block as a share of the full walk's, in multiply-adds, float32 [blocks]."""
        spent: list[int] = []

        def group(_: int, standing: Standing, blocks: Sequence[Adds]) -> Standing:
            for block in blocks:
                with FlopCounterMode(display=False) as counter:
                    standing = standing.plus(block(standing.map))
                spent.append(counter.get_total_flops())
            return standing

        with FlopCounterMode(display=False) as counter:
            self.walk(self.open(torch.zeros(1, 32, 32, 3, dtype=torch.uint8)), group)
        shares: Tensor = torch.tensor(spent, dtype=torch.float32) / counter.get_total_flops()
        return shares


def grown(net: MultiExitNet) -> Backbone:
    """The backbone made of the early-exit network's layers up to its third exit.

    Where a block ends at an exit it has that exit's head; the others' votes start from zero. So at first the votes of
    the full walk are the sum of the three exits'.
    """
    first, joined, fourth, _ = net.chain()
    assert isinstance(first, FirstStage)
    assert isinstance(joined, JoinedStage)
    fusing, third = joined.first, joined.second
    assert isinstance(fusing, FusingStage)
    assert isinstance(third, ChainStage)
    assert isinstance(fourth, ChainStage)
    fuse, (widens, late) = fusing.body, _parts(fourth.body)
    assert isinstance(fuse, Fuse)
    assert isinstance(widens, ConvUnit)
    assert third.head is not None
    assert fourth.head is not None
    narrow, wide = widens.conv.in_channels, widens.conv.out_channels
    classes = _classes(third.head)
    turn, (one, two) = Turn(fuse.coarse), _parts(third.body)
    net.requires_grad_(True)
    groups = [
        [
            Block(Join(fuse.fine, turn), _silent(narrow, classes)),
            Block(one.get_submodule("unit"), _silent(narrow, classes)),
            Block(two.get_submodule("unit"), third.head),
        ],
        [
            Block(Widen(widens, narrow), _silent(wide, classes)),
            Block(late.get_submodule("unit"), fourth.head),
        ],
    ]
    return Backbone(first, turn, groups, (narrow, wide))


def _silent(channels: int, classes: int) -> Head:
    """A head whose votes are zero until it is trained."""
    head = Head(channels, None, classes)
    nn.init.zeros_(head.linear.weight)
    nn.init.zeros_(head.linear.bias)
    return head


def _classes(head: nn.Module) -> int:
    assert isinstance(head, Head)
    return head.linear.out_features


def _parts(body: nn.Module) -> list[nn.Module]:
    return list(body.children())
