"""Heads and policy of the glancing network, on features that are computed once.

The policy learns by imitation, not by reinforcement: of each training photo some candidate crops were looked at, and
it is to tell the crop head's margin for the true class at each (GFNet and AdaFocus learn the same by PPO or
through the sampling, at the price of hours). Gains in probability would be no teacher here: on photos that the heads
were trained on they are all nearly 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.nets.looks import Focus

SCALE = 5.0
"""Logits; brings the margins' differences to the size of 1."""


@dataclass(frozen=True)
class Looked:
    """What was seen of n photos: `map` [n, 1280, 3, 3] of the glance, `crops` [n, m, 1280] of the boxes `boxes` int64
    [n, m], `labels` int64 [n]."""

    map: Tensor
    crops: Tensor
    boxes: Tensor
    labels: Tensor


def fit_heads(
    net: Focus, seen: Looked, *, looks: int, steps: int = 300, rate: float = 3e-3, near: float = 3e-2, seed: int = 0
) -> None:
    """Train glance and crop head, in place, so that the answer after the glance and after each of `looks` crops, taken
    at random, is right. `near` holds the heads near what they were."""
    chance = torch.Generator().manual_seed(seed)
    heads = [net.glance.weight, net.glance.bias, net.crop.weight, net.crop.bias]
    start = [weight.detach().clone() for weight in heads]
    optimiser = torch.optim.Adam(heads, lr=rate)
    glance = seen.map.mean((2, 3))
    rows = torch.arange(len(glance))[:, None]
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        some = torch.rand(seen.boxes.shape, generator=chance).argsort(1)[:, :looks]
        evidence = net.glance(functional.dropout(glance, 0.3))
        loss = functional.cross_entropy(evidence, seen.labels)
        for told in net.crop(functional.dropout(seen.crops[rows, some], 0.3)).unbind(1):
            evidence = evidence + told
            loss = loss + functional.cross_entropy(evidence, seen.labels) / looks
        held = sum(((weight - first) ** 2).sum() for weight, first in zip(heads, start, strict=True))
        optimiser.zero_grad()
        (loss + near * held).backward()
        optimiser.step()


def margins(net: Focus, seen: Looked) -> Tensor:
    """The crop head's margin for the true class, [n, m]: its logit less the (soft) largest of the others."""
    with torch.no_grad():
        told = net.crop(seen.crops)
        label = seen.labels[:, None, None].expand(-1, told.shape[1], 1)
        right = told.gather(2, label)[..., 0]
        made: Tensor = right - told.scatter(2, label, -torch.inf).logsumexp(2)
        return made


def fit_policy(
    net: Focus, seen: Looked, watch: Looked, *, epochs: int = 60, rate: float = 1e-2, seed: int = 0
) -> list[float]:
    """Train the policy, in place, to tell the margins of the boxes that were looked at, less their photo's mean.

    What comes back is, for each epoch, the mean margin of the box that the policy would take of those in `watch`.
    """
    torch.manual_seed(seed)
    hints, reward = hinted(net, seen), margins(net, seen)
    goal, watched = (reward - reward.mean(1, keepdim=True)) / SCALE, (hinted(net, watch), margins(net, watch))
    middle, spread = hints.mean(0), hints.std(0)
    policy = nn.Linear(hints.shape[1], net.policy.out_features)
    optimiser = torch.optim.AdamW(policy.parameters(), lr=rate, weight_decay=0.05)
    found = []
    for epoch in range(epochs):
        optimiser.param_groups[0]["lr"] = rate * (1 - epoch / epochs)
        for rows in torch.randperm(len(goal)).split(64):
            scores = policy((hints[rows] - middle) / spread).gather(1, seen.boxes[rows])
            loss = ((scores - scores.mean(1, keepdim=True) - goal[rows]) ** 2).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            net.policy.weight.copy_(policy.weight / spread)
            net.policy.bias.copy_(policy.bias - net.policy.weight @ middle)
            first = net.policy(watched[0]).gather(1, watch.boxes).argmax(1)
        found.append(float(watched[1].gather(1, first[:, None]).mean()))
    return found


@torch.no_grad()
def hinted(net: Focus, seen: Looked) -> Tensor:
    """What the policy goes by: [n, 27]."""
    return net.glanced(seen.map.flatten(2).transpose(1, 2))[1]
