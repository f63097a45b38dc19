"""Heads for walks that skip what is not new (models/nets/kept.py), and those walks replayed on features of all
frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.nets.clips import rooted
from models.nets.kept import SpreadHead, pools, spread
from models.nets.peek import FAR, cells
from models.training.clips import logistic

COUNTS = (2, 4, 8, 32)
"""How many frames, at random moments, each clip shows to the head for many frames."""
DECAY = 0.3
"""Of a head's standardised weights; the better of 0.3 and 1 by cross-validated log loss on train."""


def distances(thumbs: Tensor) -> Tensor:
    """Of each moment's thumbnail to each other's, as `models.nets.peek.distance`: uint8 [n, M, 32, 40, 3] to [n, M,
    M]."""
    seen = cells(thumbs.flatten(0, 1)).reshape(*thumbs.shape[:2], -1)
    return (seen[:, :, None] - seen[:, None]).square().mean(dim=3).sqrt()


def skipping(apart: Tensor, order: Sequence[int], threshold: float) -> NDArray[np.bool_]:
    """Which frames a walk sees that doesn't stop: bool [laps, n]; the first and the last in any case.

    Args:
        apart: distances, or what rises with them, of each moment to each other one [n, M, M].
        order: moments by lap.
        threshold: what it has to be to the nearest frame seen.
    """
    n, count = len(apart), len(order)
    took, seen = np.zeros((count, n), bool), torch.zeros(n, count, dtype=torch.bool)
    for lap, moment in enumerate(order):
        nearest = apart[:, moment].masked_fill(~seen, FAR).amin(dim=1)
        goes = (nearest >= threshold) | (lap in (0, count - 1))
        took[lap] = goes.numpy()
        seen[:, moment] = goes
    return took


def by_moment(took: NDArray[np.bool_], order: Sequence[int]) -> Tensor:
    """`took` [laps, n] as bool [n, M] in the order of time."""
    seen = torch.zeros(took.shape[1], len(order), dtype=torch.bool)
    seen[:, list(order)] = torch.from_numpy(took.T)
    return seen


def train_spread_head(
    features: Tensor, masks: Sequence[Tensor], labels: Tensor, classes: int, *, seed: int, decay: float = DECAY
) -> SpreadHead:
    """A head on features float32 [n, M, f]: for one frame from random single ones, for more from random ones and from
    those that walks see, `masks` bool [n, M] each."""
    random = torch.Generator().manual_seed(seed)
    n, moments, _ = features.shape
    single = [features[:, place] for place in torch.randperm(moments, generator=random)[:3]]
    one = logistic(rooted(torch.cat(single)), labels.repeat(3), classes, decay)
    shown = [_random(n, moments, count, random) for count in COUNTS] + list(masks)
    read = torch.cat([spread(*pools(features, mask)) for mask in shown])
    return SpreadHead(one, logistic(read, labels.repeat(len(shown)), classes, decay)).eval()


def along(head: SpreadHead, features: Tensor, took: NDArray[np.bool_], order: Sequence[int]) -> NDArray[np.float32]:
    """Logits that stand after each lap of walks that saw `took` bool [laps, n]: float32 [laps, n, classes]."""
    told = []
    for lap in range(len(order)):
        upto = took.copy()
        upto[lap + 1 :] = False
        told.append(head.over(features, by_moment(upto, order)).numpy())
    return np.stack(told)


def _random(n: int, moments: int, count: int, random: torch.Generator) -> Tensor:
    """The same `count` random moments of every clip, bool [n, M]."""
    mask = torch.zeros(n, moments, dtype=torch.bool)
    mask[:, torch.randperm(moments, generator=random)[:count]] = True
    return mask
