"""How deciders learn what blocks are worth: every way through the trained backbone is walked for some images, once.

With 5 blocks there are 32 ways. What each of them loses is then known for each of the images, and so is what a decider
sees at every place of every way; the loss that decisions would have on average is a sum over the ways, exact and
differentiable. Neither samples nor a straight-through gradient are needed, and no step runs the backbone.

Places: before block k (from 0 on) a walk has run some of the k blocks before, 2^k ways; they are counted in binary, the
first block's bit the highest, 1 where it ran.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.nets.residual import BLOCKS, COUNT, Backbone, Opened, Standing
from models.nets.skipping import Gates, Halting, Policy, SkipNet, Way, seen
from models.training.precision import autocast

SHARPENED = 0.5
"""Temperature of the probabilities that blocks are judged by: nearer to right or wrong than the votes, which smoothed
labels keep modest, so that deciders don't spend on making a right answer surer."""
IMPOSSIBLE = -1e4
"""Logit of a block that no decision leads to."""


@dataclass(frozen=True)
class Ways:
    """What the ways of n images show.

    Attributes:
        seen: by block, float16 [n, 2^k, features] of the places before block k.
        sure: float32 [n, 32], the probability of the true class at the end of each way, sharpened.
    """

    seen: list[Tensor]
    sure: Tensor


@torch.no_grad()
def explore(net: SkipNet, images: NDArray[np.uint8], labels: NDArray[np.int64], batch: int = 200) -> Ways:
    """Every way through the backbone, in the machine's training precision."""
    backbone, parts = net.backbone.eval(), []
    for start in range(0, len(images), batch):
        with autocast():
            opened = backbone.open(torch.from_numpy(images[start : start + batch]))
            met: list[list[Tensor]] = [[] for _ in range(COUNT)]
            logits = torch.stack(_onward(backbone, (0, 0), opened, backbone.begin(opened), met), dim=1).float()
        goal = torch.from_numpy(labels[start : start + batch])[:, None, None].expand(-1, 2**COUNT, 1)
        sure = (logits / SHARPENED).softmax(2).gather(2, goal)[:, :, 0]
        parts.append(([torch.stack(each, dim=1).half() for each in met], sure))
    return Ways(
        [torch.cat([met[block] for met, _ in parts]) for block in range(COUNT)],
        torch.cat([sure for _, sure in parts]),
    )


def _onward(
    backbone: Backbone, place: tuple[int, int], opened: Opened, standing: Standing, met: list[list[Tensor]]
) -> list[Tensor]:
    """Logits at the ends of all ways on from here, `place` blocks into a group; what deciders see goes to `met`."""
    group, block = place
    if block == BLOCKS[group]:
        if group == len(BLOCKS) - 1:
            return [standing.votes]
        return _onward(backbone, (group + 1, 0), opened, backbone.widen(standing), met)
    met[sum(BLOCKS[:group]) + block].append(seen(standing))
    skipped = _onward(backbone, (group, block + 1), opened, standing, met)
    added = backbone.blocks(group, opened)[block](standing.map)
    return skipped + _onward(backbone, (group, block + 1), opened, standing.plus(added), met)


def values(way: Way, met: Sequence[Tensor]) -> list[Tensor]:
    """Logits of what speaks for each block, [b, 2^k] before block k; `met`: what deciders see there."""
    if isinstance(way, Policy):
        logits = way.decider(met[0])[:, 0]
        return [logits[:, block, None].expand(-1, 2**block) for block in range(COUNT)]
    if isinstance(way, Gates):
        gates = [gate for group in range(len(BLOCKS)) for gate in way.of(group)]
        return [gate(each)[:, :, 0] for gate, each in zip(gates, met, strict=True)]
    assert isinstance(way, Halting)
    found: list[Tensor] = []
    for group, count in enumerate(BLOCKS):
        first = sum(BLOCKS[:group])
        going, halted = torch.ones(2**first, dtype=torch.bool), torch.zeros(len(met[0]), 2**first)
        for block, score in enumerate(way.of(group)):
            # A block is only entered from the one before it: of two ways on, the one that skipped goes no further.
            if block:
                going = torch.stack([torch.zeros_like(going), going], dim=1).flatten()
                halted = halted.repeat_interleave(2, dim=1)
            halted = halted + torch.sigmoid(score(met[first + block])[:, :, 0])
            left = torch.logit((1 - halted).clamp(0, 1), eps=1e-4)
            found.append(torch.where(going, left, IMPOSSIBLE))
        assert count == block + 1
    return found


def expected(logits: Sequence[Tensor], thresholds: Tensor, sharpness: float) -> Tensor:
    """How likely each way is, [b, 32], if decisions are soft ones around the thresholds [b]."""
    chance = torch.ones(len(thresholds), 1)
    for each in logits:
        runs = torch.sigmoid((each - thresholds[:, None]) * sharpness)
        chance = torch.stack([chance * (1 - runs), chance * runs], dim=2).flatten(1)
    return chance


def costs(shares: Tensor) -> Tensor:
    """Of each way, [32], by the blocks' shares of the full walk."""
    ways = torch.arange(2**COUNT)
    bits = torch.stack([(ways >> (COUNT - 1 - block)) & 1 for block in range(COUNT)], dim=1)
    return bits.float() @ shares


def learn(net: SkipNet, way: str, found: Ways, *, seed: int, steps: int, lr: float, batch: int = 128) -> float:
    """Fit one way to decide; the expected loss at the end.

    The loss: the expected probability of any wrong class plus price x cost, at a price drawn for each row. Decisions
    begin soft and end nearly hard.
    """
    torch.manual_seed(seed)
    decider, owed = net.ways[way], costs(net.backbone.shares())
    assert isinstance(decider, Way)
    decider.requires_grad_(True).train()
    search = torch.optim.AdamW(decider.parameters(), lr, weight_decay=0.02)
    course = torch.optim.lr_scheduler.OneCycleLR(search, lr, total_steps=steps)
    mean = 0.0
    for step in range(steps):
        rows = torch.randint(len(found.sure), (batch,))
        thresholds, prices = net.pricing.draw(batch)
        chance = expected(
            values(decider, [each[rows].float() for each in found.seen]), thresholds, 1 + 3 * step / steps
        )
        loss = (chance * (1 - found.sure[rows] + prices[:, None] * owed)).sum(1).mean()
        search.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decider.parameters(), 1.0)
        search.step()
        course.step()
        mean += (loss.item() - mean) / min(step + 1, 100)
    decider.eval().requires_grad_(False)
    return mean
