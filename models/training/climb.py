"""Heads of the climbing network, and how much of what stood before each adds, on features that are computed once."""

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional

from models.nets.looks import Sized


def fit_heads(
    net: Sized,
    seen: Mapping[int, Tensor],
    labels: Tensor,
    sizes: Sequence[int],
    *,
    steps: int = 200,
    rate: float = 3e-3,
    near: float = 3e-2,
    seed: int = 0,
) -> None:
    """Train the heads, in place, each on its own: `seen` holds features [n, 1280] by size. `near` holds them near what
    they were."""
    torch.manual_seed(seed)
    trained = [net.weight, net.bias]
    start = [weight.detach().clone() for weight in trained]
    optimiser = torch.optim.Adam(trained, lr=rate)
    nothing = torch.zeros(len(labels), net.bias.shape[1])
    for step in range(steps):
        optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        told = [net.judge(functional.dropout(seen[size], 0.3), nothing, head) for head, size in enumerate(sizes)]
        loss = torch.stack([functional.cross_entropy(logits, labels) for logits in told]).sum()
        held = sum(((weight - first) ** 2).sum() for weight, first in zip(trained, start, strict=True))
        optimiser.zero_grad()
        (loss + near * held).backward()
        optimiser.step()


def fit_shares(
    net: Sized, seen: Mapping[int, Tensor], labels: Tensor, climb: Mapping[int, int], *, steps: int = 150
) -> None:
    """Fit the shares of what stood before, in place, on photos that no head was trained on; `climb` are the sizes that
    walks go by, rising, with their heads.

    On photos that it has learned a small look is as sure as a large one, and would be trusted far too much. The loss is
    that of the answers after every way, each size with a temperature of its own, as the router will have.
    """
    with torch.no_grad():
        nothing, heads = torch.zeros(len(labels), net.bias.shape[1]), list(climb.values())
        alone = [net.judge(seen[size], nothing, head) for size, head in climb.items()]
    heat = torch.zeros(len(heads), requires_grad=True)
    optimiser = torch.optim.Adam([net.trust, heat], lr=0.02)
    for _ in range(steps):
        losses = []
        for count in range(len(heads)):
            for later in combinations(range(1, len(heads)), count):
                logits, last = alone[0], 0
                for last in later:
                    logits = alone[last] + net.trust[heads[last]] * logits
                losses.append(functional.cross_entropy(logits * heat[last].exp(), labels))
        optimiser.zero_grad()
        torch.stack(losses).mean().backward()
        optimiser.step()
