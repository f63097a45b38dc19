"""Networks that decide by sample which blocks of the backbone run: gates, a policy, halting.

All three put a value to a block, and run it where the value reaches the threshold of the walk's price: the logit of a
value is the block's worth on the scale of prices. How that is learned: models/training/worth.py.

Shapes below: b rows; maps are [b, channels, height, width].
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import log

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from models.nets.layers import ConvUnit
from models.nets.network import Network
from models.nets.residual import BLOCKS, Adds, Backbone, Through

START = 1.5
"""Logit of every value before training: blocks run at most prices."""


@dataclass(frozen=True)
class Pricing:
    """Prices in probability of the right class per full walk, log-uniform; the threshold's logit rises with the log."""

    least: float = 0.01
    most: float = 2.0
    span: float = 4.0

    def draw(self, rows: int) -> tuple[Tensor, Tensor]:
        """Threshold logits and prices, float32 [rows] each."""
        place = torch.rand(rows)
        return (2 * place - 1) * self.span, torch.exp(log(self.least) + place * log(self.most / self.least))


@dataclass
class Terms:
    """At which threshold each row of a batch decides, in 0..1, and which blocks it `ran`, float [b] each."""

    thresholds: Tensor
    ran: list[Tensor] = field(default_factory=list)

    def reaches(self, values: Tensor) -> Tensor:
        """Float [b], 1 where a block of these values runs; compared as the router does it."""
        return (values >= self.thresholds).float()

    def decide(self, logits: Tensor) -> Tensor:
        """The same by the logits of values."""
        return self.reaches(torch.sigmoid(logits))


class Decider(nn.Module):
    """Pooled map (mean and maximum) to `outputs` logits, through one small hidden layer."""

    def __init__(self, channels: int, outputs: int = 1, hidden: int = 32, start: float = START) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * channels, hidden)
        self.out = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.out.bias, start)

    def forward(self, x: Tensor) -> Tensor:
        return self.judge(pooled(x))

    def judge(self, seen: Tensor) -> Tensor:
        """Of a pooled map [.., 2 x channels]: logits [.., outputs]."""
        return self.out(F.silu(self.hidden(seen)))  # type: ignore[no-any-return]


def pooled(x: Tensor) -> Tensor:
    """Mean and maximum of a map, [b, 2 x channels]."""
    return torch.cat([x.mean((2, 3)), F.adaptive_max_pool2d(x, 1).flatten(1)], dim=1)


class Way(nn.Module):
    """A way to decide about the blocks."""

    def through(self, terms: Terms) -> Through:
        """What `Backbone.walk` does with each group; writes down in `terms` what ran."""
        raise NotImplementedError


class Gates(Way):
    """Each block has a gate on its own input (ConvNet-AIG, Veit & Belongie, ECCV 2018)."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.gates = nn.ModuleList(
            nn.ModuleList(Decider(width) for _ in range(count))
            for width, count in zip(backbone.channels(), BLOCKS, strict=True)
        )

    def of(self, group: int) -> list[Decider]:
        """The gates of a group's blocks."""
        return [gate for gate in self.gates[group] if isinstance(gate, Decider)]  # type: ignore[attr-defined]

    def through(self, terms: Terms) -> Through:
        """See `Way`."""

        def group(place: int, x: Tensor, blocks: Sequence[Adds]) -> Tensor:
            for block, gate in zip(blocks, self.of(place), strict=True):
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
        self.first = ConvUnit(backbone.channels()[0], width, stride=2)
        self.second = ConvUnit(width, width, stride=2)
        self.decider = Decider(width, sum(BLOCKS), hidden=48)

    def forward(self, x: Tensor) -> Tensor:
        """First map to logits [b, blocks]."""
        return self.decider(self.second(self.first(x)))  # type: ignore[no-any-return]

    def through(self, terms: Terms) -> Through:
        """See `Way`."""
        said: list[Tensor] = []

        def group(place: int, x: Tensor, blocks: Sequence[Adds]) -> Tensor:
            if not said:
                said.append(self(x))
            for block in blocks:
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
            for width, count in zip(backbone.channels(), BLOCKS, strict=True)
        )

    def of(self, group: int) -> list[Decider]:
        """The scores of a group's maps but the last."""
        return [score for score in self.scores[group] if isinstance(score, Decider)]  # type: ignore[attr-defined]

    def through(self, terms: Terms) -> Through:
        """See `Way`."""

        def group(place: int, x: Tensor, blocks: Sequence[Adds]) -> Tensor:
            mean, halted, going = x, x.new_zeros(len(x)), x.new_ones(len(x))
            for block, score in zip(blocks, self.of(place), strict=True):
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
    """One backbone, and several ways to decide about its blocks.

    Trained is the backbone, the ways later. Each step walks through every block, and once more through blocks drawn at
    random: that second walk has to answer as the first one does, which learns itself in a share of the steps. What is
    drawn is drawn for a part of the batch at once, so that a block left out costs nothing (stochastic depth, Huang et
    al. 2016).
    """

    settled_rate = 0.1
    PARTS = 2
    """Of a batch, each with blocks of its own."""
    RATES = (0.85, 0.85, 0.6, 0.5, 0.5, 0.5, 0.5)
    """How often a block runs in a walk that isn't cut short."""
    CUT, CUTS = 0.4, (2, 2, 3, 3, 4, 5, 6)
    """Share of walks that run only the first so many blocks."""
    WEIGHED, LIGHTEST = 0.25, 0.3
    """Share of walks in which additions are weighted, as halting does it."""
    LEARNS = 0.3
    """Share of steps in which the walk through every block learns, too."""

    def __init__(self, backbone: Backbone, ways: Sequence[str], pricing: Pricing | None = None) -> None:
        super().__init__()
        self.backbone, self.pricing = backbone, pricing or Pricing()
        self.ways = nn.ModuleDict({name: WAYS[name](backbone) for name in ways}).requires_grad_(False)
        self.drawn, self.learns = [[1.0] * sum(BLOCKS)] * self.PARTS, True

    @property
    def exits(self) -> int:
        return 1

    def settled(self) -> list[nn.Parameter]:
        """The backbone but for the last head, which starts from nothing."""
        new = {id(each) for each in self.backbone.head.parameters()}
        return [each for each in self.backbone.parameters() if id(each) not in new]

    def draw(self, rng: np.random.Generator) -> None:
        """Choose what the next training step runs, and with which weights."""
        self.drawn, self.learns = [self._walk(rng) for _ in range(self.PARTS)], bool(rng.random() < self.LEARNS)

    def _walk(self, rng: np.random.Generator) -> list[float]:
        if rng.random() < self.CUT:
            runs = np.arange(sum(BLOCKS)) < rng.choice(self.CUTS)
        else:
            runs = rng.random(sum(BLOCKS)) < self.RATES
        lightest = self.LIGHTEST if rng.random() < self.WEIGHED else 1.0
        weights: list[float] = (runs * rng.uniform(lightest, 1.0, len(runs))).tolist()
        return weights

    def forward(self, image: Tensor) -> list[Tensor]:
        """uint8 [b, 32, 32, 3] to logits [b, classes] of the walk through every block.

        In training those of the walk that was drawn stand first.
        """
        opened = self.backbone.open(image)
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.learns):
            whole = self.plain(opened, [1.0] * sum(BLOCKS))
        if not self.training:
            return [whole]
        parts = zip(opened.chunk(self.PARTS), self.drawn, strict=False)
        return [torch.cat([self.plain(part, weights) for part, weights in parts]), whole]

    def plain(self, opened: Tensor, weights: Sequence[float]) -> Tensor:
        """Logits of the walk through the same blocks for all rows; 0 leaves one out."""

        def group(place: int, x: Tensor, blocks: Sequence[Adds]) -> Tensor:
            for block, weight in zip(blocks, weights[sum(BLOCKS[:place]) :], strict=False):
                x = x + weight * block(x) if weight else x
            return x

        return self.backbone.walk(opened, group)

    def walk(self, way: str, image: Tensor, terms: Terms) -> tuple[Tensor, Tensor]:
        """Logits [b, classes] of walks that decide this way, and which blocks ran, [b, blocks]."""
        decider = self.ways[way]
        assert isinstance(decider, Way)
        logits = self.backbone.walk(self.backbone.open(image), decider.through(terms))
        return logits, torch.stack(terms.ran, dim=1)


def accumulated(halted: Tensor, logits: Tensor) -> Tensor:
    """The sum of scores, at most 1, once a further score is added."""
    return torch.clamp(halted + torch.sigmoid(logits), max=1.0)
