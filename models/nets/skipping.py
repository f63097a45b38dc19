"""Networks that decide by sample which blocks of the backbone run: gates, a policy, halting.

All three put a value to a block, and run it where the value reaches the threshold of the walk's price. In training each
row has a price of its own, drawn anew, and pays for the MACs that it spends, so one training serves the whole range of
prices: the logit of a value learns to be the block's worth on the scale of prices. The decision is a hard one; its
gradient is that of the sigmoid around the threshold (straight-through, Bengio et al. 2013, as in ConvNet-AIG), and the
spread of the thresholds takes the place of Gumbel noise.

Shapes below: b rows; maps are [b, channels, height, width].
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import log

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.nets.layers import ConvUnit
from models.nets.network import Network
from models.nets.residual import BLOCKS, SIDES, Backbone

START = 1.5
"""Logit of every value before training: blocks run at most prices."""


@dataclass(frozen=True)
class Pricing:
    """Prices in nats per full walk, log-uniform; the threshold's logit rises with the log of the price."""

    least: float = 0.02
    most: float = 2.0
    span: float = 3.0

    def draw(self, rows: int) -> tuple[Tensor, Tensor]:
        """Threshold logits and prices, float32 [rows] each."""
        place = torch.rand(rows)
        return (2 * place - 1) * self.span, torch.exp(log(self.least) + place * log(self.most / self.least))


@dataclass
class Terms:
    """At which threshold each row of a batch decides, and which blocks it `ran`, float [b] each.

    `thresholds` [b]: logits in training, where `soft`; else in 0..1 as a router has them, and compared with the values
    just as it does.
    """

    thresholds: Tensor
    soft: bool
    ran: list[Tensor] = field(default_factory=list)

    def decide(self, logits: Tensor) -> Tensor:
        """Float [b], 1 where a block runs; `logits` [b] of its value."""
        if not self.soft:
            return (torch.sigmoid(logits) >= self.thresholds).float()
        share = torch.sigmoid(logits - self.thresholds)
        return (share >= 0.5).float() + share - share.detach()

    def reaches(self, values: Tensor) -> Tensor:
        """The same by values [b] in 0..1."""
        return self.decide(torch.logit(values, eps=1e-6)) if self.soft else (values >= self.thresholds).float()


class Decider(nn.Module):
    """Pooled map (mean and maximum) to `outputs` logits, through one small hidden layer."""

    def __init__(self, channels: int, outputs: int = 1, hidden: int = 16, start: float = START) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * channels, hidden)
        self.out = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.out.bias, start)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.mean((2, 3)), F.adaptive_max_pool2d(x, 1).flatten(1)], dim=1)
        return self.out(F.silu(self.hidden(pooled)))  # type: ignore[no-any-return]


class Way(nn.Module):
    """A way to decide about the blocks."""

    def through(self, backbone: Backbone, terms: Terms) -> Callable[[int, Tensor], Tensor]:
        """What `Backbone.walk` does with each group; writes down in `terms` what ran."""
        raise NotImplementedError


class Gates(Way):
    """Each block has a gate on its own input (ConvNet-AIG, Veit & Belongie, ECCV 2018)."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.gates = nn.ModuleList(
            nn.ModuleList(Decider(width) for _ in range(count))
            for width, count in zip(widths(backbone), BLOCKS, strict=True)
        )

    def of(self, group: int) -> list[Decider]:
        """The gates of a group's blocks."""
        return [gate for gate in self.gates[group] if isinstance(gate, Decider)]  # type: ignore[attr-defined]

    def through(self, backbone: Backbone, terms: Terms) -> Callable[[int, Tensor], Tensor]:
        """See `Way`."""

        def group(place: int, x: Tensor) -> Tensor:
            for block, gate in zip(backbone.blocks(place), self.of(place), strict=True):
                runs = terms.decide(gate(x)[:, 0])
                terms.ran.append(runs)
                x = x + runs[:, None, None, None] * block(x)
            return x

        return group


class Policy(Way):
    """One small net looks once, before any block, and decides about all of them (BlockDrop, Wu et al., CVPR 2018).

    It turns the first group's map into a logit for every block: two strided convolutions and a decider, about 1 MMAC.
    """

    def __init__(self, backbone: Backbone, width: int = 48) -> None:
        super().__init__()
        self.first = ConvUnit(widths(backbone)[0], width, stride=2)
        self.second = ConvUnit(width, width, stride=2)
        self.decider = Decider(width, sum(BLOCKS), hidden=48)

    def forward(self, x: Tensor) -> Tensor:
        """First map to logits [b, blocks]."""
        return self.decider(self.second(self.first(x)))  # type: ignore[no-any-return]

    def through(self, backbone: Backbone, terms: Terms) -> Callable[[int, Tensor], Tensor]:
        """See `Way`."""
        said: list[Tensor] = []

        def group(place: int, x: Tensor) -> Tensor:
            if not said:
                said.append(self(x))
            for block in backbone.blocks(place):
                runs = terms.decide(said[0][:, len(terms.ran)])
                terms.ran.append(runs)
                x = x + runs[:, None, None, None] * block(x)
            return x

        return group


class Halting(Way):
    """Each map has a halting score; a group ends where the scores of its maps add up (ACT, Graves 2016; SACT, 2017).

    A group's output is the mean of its maps x_0, x_1, .., weighted by their scores h_0, h_1, ..; the last map gets what
    is left to 1. With x_i+1 = x_i + f_i(x_i) that mean is x_0 + sum of (1 - h_0 - .. - h_i) f_i(x_i): the output, too,
    grows by one block's addition after the other, weighted by what remained before it.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        # No score for a group's last map: it gets the rest.
        self.scores = nn.ModuleList(
            nn.ModuleList(Decider(width, start=-START) for _ in range(count))
            for width, count in zip(widths(backbone), BLOCKS, strict=True)
        )

    def of(self, group: int) -> list[Decider]:
        """The scores of a group's maps but the last."""
        return [score for score in self.scores[group] if isinstance(score, Decider)]  # type: ignore[attr-defined]

    def through(self, backbone: Backbone, terms: Terms) -> Callable[[int, Tensor], Tensor]:
        """See `Way`."""

        def group(place: int, x: Tensor) -> Tensor:
            mean, halted, going = x, x.new_zeros(len(x)), x.new_ones(len(x))
            for block, score in zip(backbone.blocks(place), self.of(place), strict=True):
                halted = accumulated(halted, score(x)[:, 0])
                going = going * terms.reaches(1 - halted)
                terms.ran.append(going)
                added = block(x)
                x = x + added
                mean = mean + ((1 - halted) * going)[:, None, None, None] * added
            return mean

        return group


WAYS: dict[str, type[Way]] = {"gate": Gates, "policy": Policy, "halting": Halting}


class SkipNet(Network):
    """One backbone and several ways to decide about its blocks; each training step takes one of them in turn.

    A share of the steps runs every block, and another leaves out blocks at random, for the whole batch at once, so that
    they cost nothing (stochastic depth, Huang et al. 2016): those are for the backbone.
    """

    settled_rate = 0.1
    WHOLE, RANDOM = 0.2, 0.2
    MOST_DROPPED = 0.9

    def __init__(self, backbone: Backbone, ways: Sequence[str], pricing: Pricing | None = None) -> None:
        super().__init__()
        self.backbone, self.pricing = backbone, pricing or Pricing()
        self.ways = nn.ModuleDict({name: WAYS[name](backbone) for name in ways})
        self.way: str | None = None
        self.running = [True] * sum(BLOCKS)

    @property
    def exits(self) -> int:
        return 1

    def settled(self) -> list[nn.Parameter]:
        """The backbone."""
        return list(self.backbone.parameters())

    def draw(self, rng: np.random.Generator) -> None:
        """Choose what the next training step runs."""
        kind = rng.random()
        names = list(self.ways)
        self.way = None if kind < self.WHOLE + self.RANDOM else names[rng.integers(len(names))]
        rate = 0.0 if kind < self.WHOLE else rng.uniform(0, self.MOST_DROPPED)
        self.running = (rng.random(len(self.running)) >= rate).tolist()

    def forward(self, image: Tensor) -> list[Tensor]:
        """uint8 [b, 32, 32, 3] to logits [b, classes] of the walk through every block.

        In training of the walk drawn, at prices drawn by row; what each row owes for its blocks is then second, [b].
        """
        if not self.training:
            return [self.plain(image, [True] * len(self.running))]
        if self.way is None:
            return [self.plain(image, self.running)]
        drawn, prices = self.pricing.draw(len(image))
        logits, ran = self.walk(self.way, image, Terms(drawn, soft=True))
        return [logits, prices * (ran @ shares(self.backbone))]

    def plain(self, image: Tensor, running: Sequence[bool]) -> Tensor:
        """Logits of the walk through the same blocks for all rows."""

        def group(place: int, x: Tensor) -> Tensor:
            first = sum(BLOCKS[:place])
            for block, runs in zip(self.backbone.blocks(place), running[first:], strict=False):
                x = x + block(x) if runs else x
            return x

        return self.backbone.walk(image, group)

    def walk(self, way: str, image: Tensor, terms: Terms) -> tuple[Tensor, Tensor]:
        """Logits [b, classes] of walks that decide this way, and which blocks ran, [b, blocks]."""
        decider = self.ways[way]
        assert isinstance(decider, Way)
        logits = self.backbone.walk(image, decider.through(self.backbone, terms))
        return logits, torch.stack(terms.ran, dim=1)


def accumulated(halted: Tensor, logits: Tensor) -> Tensor:
    """The sum of scores, at most 1, once a further score is added."""
    return torch.clamp(halted + torch.sigmoid(logits), max=1.0)


def widths(backbone: Backbone) -> tuple[int, ...]:
    """Channels of each group's map."""
    first = [backbone.blocks(group)[0] for group in range(len(BLOCKS))]
    return tuple(block.conv.out_channels for block in first)


def shares(backbone: Backbone) -> Tensor:
    """Cost of each block as a share of the full walk's, float32 [blocks]; transitions and heads count."""
    costs: Sequence[int] = [
        9 * width**2 * side**2
        for width, side, count in zip(widths(backbone), SIDES, BLOCKS, strict=True)
        for _ in range(count)
    ]
    whole = sum(costs) + backbone.fixed_macs()
    return torch.tensor(costs, dtype=torch.float32) / whole
