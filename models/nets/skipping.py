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

from models.nets.network import Network
from models.nets.residual import BLOCKS, COUNT, Adds, Backbone, Opened, Standing, Through

START = 1.5
"""Logit of every value before training: blocks run at most prices."""
CLASSES_SEEN = 5
"""Of how many classes, the likeliest, a decider sees the log-probability, but not which classes they are."""
LEAST_SEEN = -12.0
"""Below this a log-probability tells no more."""


@dataclass(frozen=True)
class Pricing:
    """Prices in probability of the right class per full walk, log-uniform; the threshold's logit rises with the log."""

    least: float = 0.003
    most: float = 1.0
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
    """What `seen` makes of a map and votes to `outputs` logits, through one small hidden layer."""

    def __init__(self, channels: int, outputs: int = 1, hidden: int = 32, start: float = START) -> None:
        super().__init__()
        self.hidden = nn.Linear(2 * channels + CLASSES_SEEN, hidden)
        self.out = nn.Linear(hidden, outputs)
        nn.init.zeros_(self.out.weight)
        nn.init.constant_(self.out.bias, start)

    def forward(self, seen: Tensor) -> Tensor:
        """[.., features] to logits [.., outputs]."""
        return self.out(F.silu(self.hidden(seen)))  # type: ignore[no-any-return]


def seen(standing: Standing) -> Tensor:
    """What deciders look at, [b, 2 x channels + 5]: mean and maximum of the map, and how sure the votes are."""
    x, votes = standing
    sure = torch.topk(F.log_softmax(votes, dim=1), CLASSES_SEEN, dim=1).values.clamp(min=LEAST_SEEN)
    return torch.cat([x.mean((2, 3)), F.adaptive_max_pool2d(x, 1).flatten(1), sure], dim=1)


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
            for width, count in zip(backbone.channels, BLOCKS, strict=True)
        )

    def of(self, group: int) -> list[Decider]:
        """The gates of a group's blocks."""
        return [gate for gate in self.gates[group] if isinstance(gate, Decider)]  # type: ignore[attr-defined]

    def through(self, terms: Terms) -> Through:
        """See `Way`."""

        def group(place: int, standing: Standing, blocks: Sequence[Adds]) -> Standing:
            for block, gate in zip(blocks, self.of(place), strict=True):
                runs = terms.decide(gate(seen(standing))[:, 0])
                terms.ran.append(runs)
                standing = standing.plus(block(standing.map), runs)
            return standing

        return group


class Policy(Way):
    """One small net looks once, before any block, and decides about all of them (BlockDrop, Wu et al., CVPR 2018).

    BlockDrop's sees the image; this one sees what the trunk made of it, so it costs next to nothing.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.decider = Decider(backbone.channels[0], COUNT, hidden=64)

    def forward(self, standing: Standing) -> Tensor:
        """What the first group begins with to logits [b, blocks]."""
        return self.decider(seen(standing))  # type: ignore[no-any-return]

    def through(self, terms: Terms) -> Through:
        """See `Way`."""
        said: list[Tensor] = []

        def group(place: int, standing: Standing, blocks: Sequence[Adds]) -> Standing:
            if not said:
                said.append(self(standing))
            for block in blocks:
                runs = terms.decide(said[0][:, len(terms.ran)])
                terms.ran.append(runs)
                standing = standing.plus(block(standing.map), runs)
            return standing

        return group


class Halting(Way):
    """Each standing has a halting score; a group ends where the scores add up (ACT, Graves 2016; SACT, 2017).

    A group's output is the mean of its standings s_0, s_1, .., weighted by their scores h_0, h_1, ..; the last one gets
    what is left to 1. With s_i+1 = s_i + f_i(s_i) that mean is s_0 + sum of (1 - h_0 - .. - h_i) f_i(s_i): the output,
    too, grows by one block's addition after the other, weighted by what remained before it.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        # No score for what a group ends with: it gets the rest.
        self.scores = nn.ModuleList(
            nn.ModuleList(Decider(width, start=-START) for _ in range(count))
            for width, count in zip(backbone.channels, BLOCKS, strict=True)
        )

    def of(self, group: int) -> list[Decider]:
        """The scores of a group's standings but the last."""
        return [score for score in self.scores[group] if isinstance(score, Decider)]  # type: ignore[attr-defined]

    def through(self, terms: Terms) -> Through:
        """See `Way`."""

        def group(place: int, standing: Standing, blocks: Sequence[Adds]) -> Standing:
            mean, votes = standing, standing.votes
            halted, going = votes.new_zeros(len(votes)), votes.new_ones(len(votes))
            for block, score in zip(blocks, self.of(place), strict=True):
                halted = accumulated(halted, score(seen(standing))[:, 0])
                going = going * terms.reaches(1 - halted)
                terms.ran.append(going)
                added = block(standing.map)
                standing = standing.plus(added)
                mean = mean.plus(added, (1 - halted) * going)
            return mean

        return group


WAYS: dict[str, type[Way]] = {"gate": Gates, "policy": Policy, "halting": Halting}


class SkipNet(Network):
    """One backbone, and several ways to decide about its blocks.

    Trained is the backbone, the ways later. Each step walks through every block, and once more through blocks drawn at
    random: that second walk has to answer as the first one does. What is drawn is drawn for a part of the batch at
    once, so that a block left out costs nothing (stochastic depth, Huang et al. 2016).
    """

    settled_rate = 0.05
    PARTS = 2
    """Of a batch, each with blocks of its own."""
    RATES = (0.75, 0.7, 0.7, 0.5, 0.5)
    """How often a block runs in a walk that isn't cut short."""
    CUT = 0.5
    """Share of walks that run only the first so many blocks."""
    WEIGHED, LIGHTEST = 0.25, 0.3
    """Share of walks in which additions are weighted, as halting does it."""

    def __init__(self, backbone: Backbone, ways: Sequence[str], pricing: Pricing | None = None) -> None:
        super().__init__()
        self.backbone, self.pricing = backbone, pricing or Pricing()
        self.ways = nn.ModuleDict({name: WAYS[name](backbone) for name in ways}).requires_grad_(False)
        self.drawn = [[1.0] * COUNT] * self.PARTS

    @property
    def exits(self) -> int:
        return 1

    def settled(self) -> list[nn.Parameter]:
        """All but what turns maps to votes, which for some blocks starts from nothing."""
        voting = ".head.linear."
        return [each for name, each in self.backbone.named_parameters() if each.requires_grad and voting not in name]

    def draw(self, rng: np.random.Generator) -> None:
        """Choose what the next training step runs, and with which weights."""
        self.drawn = [self._walk(rng) for _ in range(self.PARTS)]

    def _walk(self, rng: np.random.Generator) -> list[float]:
        runs = np.arange(COUNT) < rng.integers(COUNT) if rng.random() < self.CUT else rng.random(COUNT) < self.RATES
        lightest = self.LIGHTEST if rng.random() < self.WEIGHED else 1.0
        weights: list[float] = (runs * rng.uniform(lightest, 1.0, COUNT)).tolist()
        return weights

    def forward(self, image: Tensor) -> list[Tensor]:
        """uint8 [b, 32, 32, 3] to logits [b, classes] of the walk through every block.

        In training those of the walk that was drawn stand first.
        """
        opened = self.backbone.open(image)
        whole = self.plain(opened, [1.0] * COUNT)
        if not self.training:
            return [whole]
        parts = zip(opened.chunk(self.PARTS), self.drawn, strict=False)
        return [torch.cat([self.plain(part, weights) for part, weights in parts]), whole]

    def plain(self, opened: Opened, weights: Sequence[float]) -> Tensor:
        """Logits of the walk through the same blocks for all rows; 0 leaves one out."""

        def group(place: int, standing: Standing, blocks: Sequence[Adds]) -> Standing:
            for block, weight in zip(blocks, weights[sum(BLOCKS[:place]) :], strict=False):
                standing = standing.plus(block(standing.map), weight) if weight else standing
            return standing

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
