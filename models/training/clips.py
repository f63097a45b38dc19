"""Training of the small parts around a frozen backbone, on what it made of every frame (models/data/clip_cache.py).

Each takes seconds, so tables are cross-fitted: parts that never saw a group say how that group's walks would go.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from models.nets.clips import PoolHead, Scorer, rooted

COUNTS = (1, 4, 16)
"""How many frames, at random moments, each clip shows to a head: it has to answer after any number."""
DECAY = 1.0
"""Of a head's standardised weights. No search for it is on record: take it as set by hand."""


def train_head(features: Tensor, labels: Tensor, classes: int, *, seed: int, decay: float = DECAY) -> PoolHead:
    """A head by logistic regression on standardised roots of pools: features float32 [n, 16, f], labels int64 [n].

    Convex and searched to its minimum: nothing but the moments shown is random.
    """
    random = torch.Generator().manual_seed(seed)
    shown = [_pooled(features[:, torch.randperm(16, generator=random)[:count]]) for count in COUNTS]
    pools, goals = rooted(torch.cat(shown)), labels.repeat(len(COUNTS))
    return PoolHead(*logistic(pools, goals, classes, decay)).eval()


def logistic(pools: Tensor, goals: Tensor, classes: int, decay: float) -> tuple[Tensor, Tensor]:
    """Weight [classes, f] and bias [classes] by logistic regression on pools [n, f], which are standardised first."""
    centre, spread = pools.mean(dim=0), pools.std(dim=0) + 0.02
    pools = (pools - centre) / spread
    weight, bias = torch.zeros(classes, pools.shape[1], requires_grad=True), torch.zeros(classes, requires_grad=True)
    search = torch.optim.LBFGS([weight, bias], max_iter=40, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = functional.cross_entropy(pools @ weight.T + bias, goals) + decay / 2 * weight.square().sum()
        value.backward()
        return value

    search.step(loss)
    weight = weight.detach() / spread
    return weight, bias.detach() - weight @ centre


def frame_gains(head: PoolHead, features: Tensor, labels: Tensor) -> Tensor:
    """Log-probability of the true class at each moment alone: float32 [n, 16]; what a key frame is good for."""
    n, count, width = features.shape
    flat = features.reshape(-1, width).float()
    with torch.no_grad():
        told = functional.log_softmax(head(flat, flat), dim=1)
    return told.gather(1, labels.repeat_interleave(count)[:, None]).reshape(n, count)


def train_scorer(
    thumbs: Tensor, features: Tensor, gains: Tensor, labels: Tensor, classes: int, *, seed: int, steps: int = 400
) -> Scorer:
    """A scorer of key frames: ranks moments as `gains` [n, 16] do (SCSampler's rank loss).

    With so few clips the ranks alone teach little: its small network also learns the class, and the backbone's
    features squeezed to 32 numbers, which are thrown away.

    Args:
        thumbs: uint8 [n, 16, 32, 40, 3].
        features: of the backbone, [n, 16, f].
        gains: log-probability of the true class by a head that never saw these clips, [n, 16].
        labels: int64 [n].
        classes: how many.
        seed: of everything random.
        steps: of 32 clips.
    """
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    scorer, told, named = Scorer(), nn.Linear(32, 32), nn.Linear(32, classes)
    goal = _squeezed(features, 32)
    parts = nn.ModuleList([scorer, told, named])
    search = torch.optim.AdamW(parts.parameters(), 2e-3, weight_decay=0.02)
    course = torch.optim.lr_scheduler.OneCycleLR(search, 2e-3, total_steps=steps)
    for _ in range(steps):
        rows = torch.randint(len(labels), (32,), generator=random)
        some = shaken(thumbs[rows], random)
        seen = scorer.seen(some)
        scores = scorer.score(seen)[:, :, 0]
        small = seen[:, :, :32]
        loss = _rank_loss(scores, gains[rows]) + 0.3 * functional.mse_loss(told(small), goal[rows])
        loss = loss + 0.3 * functional.cross_entropy(named(small).flatten(0, 1), labels[rows].repeat_interleave(16))
        _step(search, loss)
        course.step()
    return scorer.eval().requires_grad_(False)


def shaken(thumbs: Tensor, random: torch.Generator) -> Tensor:
    """Mirrored and brighter or darker, the same for a whole clip: uint8 [n, k, h, w, 3]."""
    mirrored = torch.rand(len(thumbs), generator=random) < 0.5
    made = torch.where(mirrored[:, None, None, None, None], thumbs.flip(3), thumbs).float()
    light = 0.75 + 0.5 * torch.rand((len(thumbs), 1, 1, 1, 1), generator=random)
    return (made * light).clamp(0, 255).to(torch.uint8)


def folds(groups: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Which of `count` folds each clip belongs to, whole groups together: int64 [n]."""
    _, place = np.unique(groups, return_inverse=True)
    return np.asarray(place % count)


def _rank_loss(scores: Tensor, gains: Tensor) -> Tensor:
    """Softplus of every pair put the wrong way round, weighted by how much the two differ."""
    apart = gains[:, :, None] - gains[:, None, :]
    weight = apart.clamp(0, 2)
    wrong = functional.softplus(-(scores[:, :, None] - scores[:, None, :]))
    return (weight * wrong).sum() / weight.sum().clamp(min=1.0)


def _squeezed(features: Tensor, width: int) -> Tensor:
    flat = features.reshape(-1, features.shape[2]).float()
    centred = flat - flat.mean(dim=0)
    _, _, axes = torch.pca_lowrank(centred, q=width, center=False)
    made = centred @ axes
    return (made / made.std(dim=0)).reshape(*features.shape[:2], width)


def _pooled(frames: Tensor) -> Tensor:
    return torch.cat([frames.float().amax(dim=1), frames.float().mean(dim=1)], dim=1)


def _step(search: torch.optim.Optimizer, loss: Tensor) -> None:
    search.zero_grad()
    loss.backward()
    search.step()
