"""A gate learns how much what it opens would bring: a regression of gains that were measured, squeezed into 0..1."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from models.nets.coarse_fine import Gate


def train_gate(
    gate: Gate, felt: tuple[Tensor, ...], gains: Tensor, rows: NDArray[np.int64], *, seed: int, steps: int = 400
) -> Gate:
    """Fit a gate to gains clipped to 0..1.

    Args:
        gate: to train.
        felt: its inputs, [n, samples, ..] each.
        gains: float32 [n, samples].
        rows: of the n, to train on.
        seed: of everything random.
        steps: of 512 samples.
    """
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    given = [part[rows].flatten(0, 1) for part in felt]
    goal = gains[rows].flatten().clamp(0, 1)
    search = torch.optim.AdamW(gate.parameters(), 3e-3, weight_decay=0.05)
    course = torch.optim.lr_scheduler.OneCycleLR(search, 3e-3, total_steps=steps)
    for _ in range(steps):
        some = torch.randint(len(goal), (512,), generator=random)
        told = gate(*(part[some] for part in given))[:, 0]
        loss = functional.binary_cross_entropy_with_logits(told, goal[some])
        search.zero_grad()
        loss.backward()
        search.step()
        course.step()
    return gate.eval().requires_grad_(False)
