"""The residual backbone of the networks that skip: four groups of blocks, each of which a walk may leave out.

A block adds to its map, x + f(x) (He et al. 2016), so a skipped one leaves x as it is, and the rest still works on it
(Veit et al., "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", NIPS 2016). It works well only
if the rest has seen such maps in training (stochastic depth, Huang et al. 2016).

It is grown on the shipped early-exit network (models/nets/pretrained.py). Its first three groups are that network's
first two stages as they are, so that all their blocks together answer just as its second exit does; even what joins
the fine map with the coarse one, a fifth of all, is a block. That exit's head votes on the third group's map, and the
last group, made of late layers moved from 7 px to 3 px, adds to its votes.

Shapes below: b rows; maps are [b, channels, height, width].
"""

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.nets.layers import ConvNorm, ConvUnit, Fuse, Head, Stem
from models.nets.multi_exit import ChainStage, FirstStage, FusingStage, JoinedStage, MultiExitNet, Widths

BLOCKS = (1, 1, 3, 2)
"""Blocks of each group."""
SIDES = (15, 7, 7, 3)
"""Height and width of each group's maps."""
JOINING = 2
"""The group whose first block joins the map of the first group."""

Adds = Callable[[Tensor], Tensor]
"""A map to what a block adds to it."""
Through = Callable[[int, Tensor, Sequence[Adds]], Tensor]
"""A group, the map with which it begins, and its blocks, to the map with which it ends."""


class Opening(nn.Module):
    """`image` uint8 [b, 32, 32, 3] to the first group's map: the stem and a convolution. Not trained further."""

    def __init__(self, stem: Stem, unit: nn.Module) -> None:
        super().__init__()
        self.stem, self.unit = stem, unit
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        return self.unit(self.stem(image))  # type: ignore[no-any-return]


class Turn(nn.Module):
    """The coarse map [b, c, 7, 7] through a 1x1 convolution to the third group's, which nothing fine is in yet."""

    def __init__(self, coarse: nn.Module) -> None:
        super().__init__()
        self.coarse = coarse

    def forward(self, coarse: Tensor) -> Tensor:
        return F.silu(self.coarse(coarse))


class Join(nn.Module):
    """A block: what the fine map [b, f, 15, 15] changes in the third group's map.

    With it the map is silu(fine part + coarse part), the early-exit network's, and without it silu(coarse part). The
    coarse part is made anew: that costs a twentieth of the fine one.
    """

    def __init__(self, fine: nn.Module, turn: Turn) -> None:
        super().__init__()
        self.fine, self.coarse = fine, turn.coarse

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        part = self.coarse(coarse)
        return F.silu(self.fine(fine) + part) - F.silu(part)


class Backbone(nn.Module):
    """Four groups: a transition that always runs, and blocks that add to its map.

    The answer: votes of `early` on the map with which the third group ends, and of `head` on the last map.
    """

    def __init__(
        self,
        transitions: Sequence[nn.Module],
        groups: Sequence[Sequence[nn.Module]],
        early: nn.Module,
        head: nn.Module,
    ) -> None:
        super().__init__()
        self.transitions = nn.ModuleList(transitions)
        self.groups = nn.ModuleList(nn.ModuleList(blocks) for blocks in groups)
        self.early, self.head = early, head

    @classmethod
    def untrained(cls, widths: Widths, classes: int) -> "Backbone":
        """With norms and random weights, for tests: the recipes grow it on a trained network."""
        w = widths
        turn = Turn(ConvNorm(w.coarse, w.middle, kernel=1))
        transitions = [
            Opening(Stem(), ConvUnit(Stem.channels, w.fine, pool=2)),
            ConvUnit(w.fine, w.coarse, stride=2),
            turn,
            ConvUnit(w.middle, w.late, stride=2),
        ]
        channels = (w.fine, w.coarse, w.middle, w.late)
        groups: list[list[nn.Module]] = [
            [ConvUnit(c, c) for _ in range(count)] for c, count in zip(channels, BLOCKS, strict=True)
        ]
        groups[JOINING][0] = Join(ConvNorm(w.fine, w.middle, pool=2), turn)
        return cls(transitions, groups, Head(w.middle, w.middle, classes), Head(w.late, None, classes))

    def block(self, group: int, place: int, maps: Sequence[Tensor]) -> Adds:
        """A block of a group, `place` from 0 on. The one that joins takes `maps`, those of the first two groups."""
        block: nn.Module = self.groups[group][place]  # type: ignore[index]
        return partial(_joined, block, *maps[:2]) if (group, place) == (JOINING, 0) else block

    def blocks(self, group: int, maps: Sequence[Tensor]) -> list[Adds]:
        """The blocks of a group. `maps`: those with which the groups before it ended."""
        return [self.block(group, place, maps) for place in range(BLOCKS[group])]

    def channels(self) -> list[int]:
        """Of each group's maps."""
        last = [list(blocks)[-1] for blocks in self.groups]  # type: ignore[call-overload]
        return [block.conv.out_channels for block in last]

    def shares(self) -> Tensor:
        """Cost of each block as a share of the full walk's, float32 [blocks]; transitions and early head count."""
        outputs: list[list[tuple[int, ...]]] = [
            [(31, 31), (7,), (7,), (3,)],
            [(15,), (7,)],
            [(15, 7), (7,), (7,)],
            [(3,), (3,)],
        ]
        blocks = [block for group in self.groups for block in group]  # type: ignore[attr-defined]
        sides = [each for group in outputs[1:] for each in group]
        fixed = sum(_macs(part, side) for part, side in zip(self.transitions, outputs[0], strict=True))
        costs = torch.tensor([_macs(block, side) for block, side in zip(blocks, sides, strict=True)])
        return costs / (fixed + _macs(self.early, (SIDES[JOINING],)) + costs.sum())

    def open(self, image: Tensor) -> Tensor:
        """uint8 [b, 32, 32, 3] to the map with which the first group begins."""
        return self.transitions[0](image)  # type: ignore[no-any-return]

    def walk(self, opened: Tensor, through: Through) -> Tensor:
        """That map to logits [b, classes]; `through` runs what blocks of a group it likes."""
        maps: list[Tensor] = []
        for group, transition in enumerate(self.transitions):
            x = transition(maps[-1]) if group else opened
            maps.append(through(group, x, self.blocks(group, maps)))
        return self.early(maps[-2]) + self.head(maps[-1])  # type: ignore[no-any-return]


def _joined(join: nn.Module, fine: Tensor, coarse: Tensor, _: Tensor) -> Tensor:
    return join(fine, coarse)  # type: ignore[no-any-return]


def _macs(part: nn.Module, sides: Sequence[int]) -> float:
    """Multiply-adds of the convolutions in a part, in their order; `sides` of their outputs."""
    convolutions = [each for each in part.modules() if isinstance(each, nn.Conv2d)]
    return float(sum(conv.weight.numel() * side**2 for conv, side in zip(convolutions, sides, strict=True)))


def grown(net: MultiExitNet) -> Backbone:
    """The backbone made of the early-exit network's layers.

    Its convolution to the late maps gets a stride, and two late residual units follow at 3 px. The last head starts
    from zero: at first the full walk is right just as often as the early-exit network's second exit.
    """
    first, joined, fourth, fifth = net.chain()
    assert isinstance(first, FirstStage)
    assert isinstance(joined, JoinedStage)
    fusing, third = joined.first, joined.second
    assert isinstance(fusing, FusingStage)
    assert isinstance(third, ChainStage)
    assert isinstance(fourth, ChainStage)
    assert isinstance(fifth, ChainStage)
    fuse, late = fusing.body, _parts(fourth.body)[0]
    assert isinstance(fuse, Fuse)
    assert isinstance(late, ConvUnit)
    late.conv.stride, late.conv.padding = (2, 2), (0, 0)
    fine, coarse = _parts(first.fine), _parts(first.coarse)
    residual = [fine[1:], coarse[1:], _parts(third.body), [_parts(fourth.body)[1], _parts(fifth.body)[-1]]]
    groups = [[unit.unit for unit in units] for units in residual]
    turn = Turn(fuse.coarse)
    groups[JOINING].insert(0, Join(fuse.fine, turn))
    head = fifth.head
    assert third.head is not None
    assert isinstance(head, Head)
    nn.init.zeros_(head.linear.weight)
    nn.init.zeros_(head.linear.bias)
    net.requires_grad_(True)
    transitions = [Opening(first.stem, fine[0]), coarse[0], turn, late]
    return Backbone(transitions, groups, third.head, head)  # type: ignore[arg-type]


def _parts(body: nn.Module) -> list[nn.Module]:
    return list(body.children())
