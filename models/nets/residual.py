"""The residual backbone of the networks that skip: four groups of blocks, each of which a walk may leave out.

A block adds to its map, x + f(x) (He et al. 2016), so a skipped one leaves x as it is, and the rest still works on it
(Veit et al., "Residual Networks Behave Like Ensembles of Relatively Shallow Networks", NIPS 2016). It works well only
if the rest has seen such maps in training (stochastic depth, Huang et al. 2016).

It is grown on the shipped early-exit network (models/nets/pretrained.py): its first layers as they are, and its late
layers, which work at 7 px there, moved to 3 px, a fifth of their cost. All layers start from its weights.

Shapes below: b rows; maps are [b, channels, height, width].
"""

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from models.nets.layers import ConvUnit, Fuse, Head, Stem
from models.nets.multi_exit import ChainStage, FirstStage, FusingStage, JoinedStage, MultiExitNet, Widths

BLOCKS = (1, 1, 2, 3)
"""Blocks of each group."""
SIDES = (15, 7, 7, 3)
"""Height and width of each group's maps."""


class Opening(nn.Module):
    """`image` uint8 [b, 32, 32, 3] to the first group's map: the stem and a convolution. Not trained further."""

    def __init__(self, stem: Stem, unit: nn.Module) -> None:
        super().__init__()
        self.stem, self.unit = stem, unit
        self.requires_grad_(False)

    def forward(self, image: Tensor) -> Tensor:
        return self.unit(self.stem(image))  # type: ignore[no-any-return]


class Backbone(nn.Module):
    """Four groups: a transition that always runs, and blocks that add to its map. `head` answers from the last map."""

    def __init__(
        self, transitions: Sequence[nn.Module], groups: Sequence[Sequence[nn.Module]], head: nn.Module
    ) -> None:
        super().__init__()
        self.transitions = nn.ModuleList(transitions)
        self.groups = nn.ModuleList(nn.ModuleList(blocks) for blocks in groups)
        self.head = head

    @classmethod
    def untrained(cls, widths: Widths, classes: int) -> "Backbone":
        """With norms and random weights, for tests: the recipes grow it on a trained network."""
        w = widths
        transitions = [
            Opening(Stem(), ConvUnit(Stem.channels, w.fine, pool=2)),
            ConvUnit(w.fine, w.coarse, stride=2),
            Fuse(w.fine, w.coarse, w.middle),
            ConvUnit(w.middle, w.late, stride=2),
        ]
        channels = (w.fine, w.coarse, w.middle, w.late)
        groups = [[ConvUnit(c, c) for _ in range(count)] for c, count in zip(channels, BLOCKS, strict=True)]
        return cls(transitions, groups, Head(w.late, None, classes))

    def blocks(self, group: int) -> list[ConvUnit]:
        """The blocks of a group: what each adds to the map."""
        return [block for block in self.groups[group] if isinstance(block, ConvUnit)]  # type: ignore[attr-defined]

    def fixed_macs(self) -> int:
        """MACs of the convolutions between the groups, which always run, for one image."""
        outputs = ((31, 31), (7,), (15, 7), (3,))
        convolutions = [
            [part for part in transition.modules() if isinstance(part, nn.Conv2d)] for transition in self.transitions
        ]
        return sum(
            conv.weight.numel() * side**2
            for group, sides in zip(convolutions, outputs, strict=True)
            for conv, side in zip(group, sides, strict=True)
        )

    def enter(self, group: int, maps: Sequence[Tensor]) -> Tensor:
        """The map with which a group begins, from the image and the maps with which the groups before it ended."""
        inputs = maps[1:3] if group == 2 else maps[-1:]
        return self.transitions[group](*inputs)  # type: ignore[no-any-return]

    def walk(self, image: Tensor, through: Callable[[int, Tensor], Tensor]) -> Tensor:
        """uint8 [b, 32, 32, 3] to logits [b, classes]; `through(group, map)` runs what blocks of a group it likes."""
        maps = [image]
        for group in range(len(self.groups)):
            maps.append(through(group, self.enter(group, maps)))
        return self.head(maps[-1])  # type: ignore[no-any-return]


def grown(net: MultiExitNet) -> Backbone:
    """The backbone made of the early-exit network's layers.

    Its convolution to the late maps gets a stride, and the three late residual units follow at 3 px; the last but one
    convolution and the early heads are left out.
    """
    first, joined, fourth, fifth = net.chain()
    assert isinstance(first, FirstStage)
    assert isinstance(joined, JoinedStage)
    fusing, third = joined.first, joined.second
    assert isinstance(fusing, FusingStage)
    assert isinstance(third, ChainStage)
    assert isinstance(fourth, ChainStage)
    assert isinstance(fifth, ChainStage)
    late = _parts(fourth.body)[0]
    assert isinstance(late, ConvUnit)
    late.conv.stride, late.conv.padding = (2, 2), (0, 0)
    fine, coarse = _parts(first.fine), _parts(first.coarse)
    residual = [fine[1:], coarse[1:], _parts(third.body), [_parts(fourth.body)[1], *_parts(fifth.body)[::2]]]
    groups = [[unit.unit for unit in units] for units in residual]
    assert fifth.head is not None
    net.requires_grad_(True)
    transitions = [Opening(first.stem, fine[0]), coarse[0], fusing.body, late]
    return Backbone(transitions, groups, fifth.head)  # type: ignore[arg-type]


def _parts(body: nn.Module) -> list[nn.Module]:
    return list(body.children())
