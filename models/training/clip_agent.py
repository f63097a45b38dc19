"""Training of the agent by imitation: of a teacher who sees the labels and every frame's features.

AdaFrame learns its policy by rewards (REINFORCE). Here the next moment to name is the one, of those not looked at, that
would raise the probability of the true class most: with some hundred clips that teaches more than sampled rewards.
Answers come from heads that never saw a clip's group, else every answer on a training clip would be right already.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from models.nets.clip_agent import HIDDEN, LOOKED, MOMENTS, Mind
from models.nets.clips import PoolHead, rooted
from models.training.clips import shaken


def train_agent(
    features: Tensor,
    thumbs: Tensor,
    labels: Tensor,
    heads: Sequence[PoolHead],
    head_of: Tensor,
    classes: int,
    *,
    seed: int,
    steps: int = 200,
    batch: int = 32,
) -> Mind:
    """An agent for clips [n]; `head_of` int64 [n] says which head never saw a clip."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    mind = Mind(classes)
    search = torch.optim.AdamW(mind.parameters(), 2e-3, weight_decay=0.05)
    course = torch.optim.lr_scheduler.OneCycleLR(search, 2e-3, total_steps=steps)
    weight, bias = stacked(heads)
    for _ in range(steps):
        rows = torch.randint(len(labels), (batch,), generator=random)
        teacher = weight[head_of[rows]], bias[head_of[rows]]
        loss = _walk_loss(mind, features[rows], shaken(thumbs[rows], random), labels[rows], teacher, random)
        search.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(mind.parameters(), 1.0)
        search.step()
        course.step()
    return mind.eval().requires_grad_(False)


def stacked(heads: Sequence[PoolHead]) -> tuple[Tensor, Tensor]:
    """Weights [heads, classes, 2 x features] and biases [heads, classes] of heads."""
    layers = [head.linear for head in heads]
    return torch.stack([layer.weight for layer in layers]), torch.stack([layer.bias for layer in layers])


@torch.no_grad()
def walked(
    mind: Mind, features: Tensor, thumbs: Tensor, head: PoolHead, laps: int = MOMENTS
) -> tuple[Tensor, Tensor, Tensor]:
    """Walks as the router takes them: logits [laps, n, classes], settled [laps, n], and moments int64 [laps, n]."""
    weight, bias = stacked([head])
    state = _State.start(features)
    memory = mind.scorer.seen(thumbs)
    where = mind.policy(state.hidden, memory, state.visited)
    told, sure, moments = [], [], []
    for _ in range(laps):
        moment = where.argmax(dim=1)
        frame = features[torch.arange(len(features)), moment]
        pooled = state.take(frame, moment, weight.expand(len(frame), -1, -1), bias.expand(len(frame), -1))
        here = functional.one_hot(moment, MOMENTS).float()
        state.hidden, logits, settled = mind.step(frame, pooled, state.count, state.hidden, here)
        where = mind.policy(state.hidden, memory, state.visited)
        told.append(logits)
        sure.append(torch.sigmoid(settled)[:, 0])
        moments.append(moment)
    return torch.stack(told), torch.stack(sure), torch.stack(moments)


class _State:
    """What a batch of walks has pooled so far."""

    def __init__(self, best: Tensor, total: Tensor, count: Tensor, visited: Tensor, hidden: Tensor) -> None:
        self.best, self.total, self.count, self.visited, self.hidden = best, total, count, visited, hidden

    @classmethod
    def start(cls, features: Tensor) -> _State:
        n, _, width = features.shape
        blank = torch.zeros(n, width)
        return cls(blank, blank, torch.zeros(n, 1), torch.zeros(n, MOMENTS), torch.zeros(n, HIDDEN))

    def take(self, frame: Tensor, moment: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """A frame into the state; logits [n, classes] of all so far."""
        self.best, self.total, self.count = torch.maximum(self.best, frame), self.total + frame, self.count + 1
        self.visited = torch.maximum(self.visited, functional.one_hot(moment, MOMENTS).float())
        pooled = rooted(torch.cat([self.best, self.total / self.count], dim=1))
        return torch.einsum("ncf,nf->nc", weight, pooled) + bias

    def chances(self, features: Tensor, labels: Tensor, teacher: tuple[Tensor, Tensor]) -> Tensor:
        """Log-probability of the true class after each moment that might come next: [n, 16]."""
        weight, bias = teacher
        best = torch.maximum(self.best[:, None], features)
        mean = (self.total[:, None] + features) / (self.count[:, None] + 1)
        logits = torch.einsum("ncf,nmf->nmc", weight, rooted(torch.cat([best, mean], dim=2))) + bias[:, None]
        told = functional.log_softmax(logits, dim=2)
        return told.gather(2, labels[:, None, None].expand(-1, MOMENTS, 1))[:, :, 0]


def _walk_loss(
    mind: Mind,
    features: Tensor,
    thumbs: Tensor,
    labels: Tensor,
    teacher: tuple[Tensor, Tensor],
    random: torch.Generator,
) -> Tensor:
    """One walk of every clip: half of the moments are the teacher's, half the agent's own."""
    state, memory = _State.start(features), mind.scorer.seen(thumbs)
    where = mind.policy(state.hidden, memory, state.visited)
    loss, right, settled = torch.zeros(()), [], []
    every = torch.arange(len(labels))
    for lap in range(MOMENTS):
        with torch.no_grad():
            best = (state.chances(features, labels, teacher) + state.visited * LOOKED).argmax(dim=1)
        if lap < MOMENTS - 1:
            loss = loss + functional.cross_entropy(where, best) / (1 + lap)
        own = torch.rand(len(labels), generator=random) < 0.5
        moment = torch.where(own, where.detach().argmax(dim=1), best)
        frame = features[every, moment]
        pooled = state.take(frame, moment, *teacher)
        here = functional.one_hot(moment, MOMENTS).float()
        state.hidden, logits, sure = mind.step(frame, pooled, state.count, state.hidden, here)
        where = mind.policy(state.hidden, memory, state.visited)
        loss = loss + 0.2 * functional.cross_entropy(logits, labels, label_smoothing=0.05)
        right.append(torch.softmax(logits, dim=1)[every, labels].detach())
        settled.append(sure[:, 0])
    gains = (right[-1] - torch.stack(right)).clamp(0, 1)
    return loss + functional.binary_cross_entropy_with_logits(torch.stack(settled), 1 - gains) * 2
