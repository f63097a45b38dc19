"""The peek before the backbone: does this frame bring anything that frames already looked at didn't?"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.export import GraphStage, StagePorts
from models.nets.clips import THUMB

CELLS = (4, 5)
"""A thumbnail is compared as so many cells of mean colour."""
NUMBERS = CELLS[0] * CELLS[1] * 3
FAR = 8.0
"""A distance that no two pictures have: where nothing was looked at yet."""


def cells(thumb: Tensor) -> Tensor:
    """uint8 [rows, 32, 40, 3] to float32 [rows, 60], mean colours in 0..1."""
    maps = thumb.permute(0, 3, 1, 2).float() / 255.0
    return functional.avg_pool2d(maps, THUMB[0] // CELLS[0]).flatten(1)


def distance(here: Tensor, looked: Tensor) -> Tensor:
    """Root mean square difference to the nearest of the pictures looked at: float32 [rows, 1]; FAR before the first.

    Args:
        here: [rows, 60].
        looked: [rows, moments, 61]; the last number is 1 where there is a picture.
    """
    apart = (looked[:, :, :NUMBERS] - here[:, None]).square().mean(dim=2).sqrt()
    return (apart + (1 - looked[:, :, NUMBERS]) * FAR).amin(dim=1, keepdim=True)


def novelty(apart: Tensor, steepness: Tensor | float, shift: Tensor | float) -> Tensor:
    """The chance of a change, in 0..1, at a distance; rises with it."""
    return torch.sigmoid(steepness * torch.log(apart + 1e-3) + shift)


class Peek(GraphStage):
    """Compares a thumbnail with those before; `steepness` and `shift` make the chance of a change out of the distance.

    State: `looked` float32 [rows, 16, 61], the pictures so far, the last first.
    """

    def __init__(self, steepness: float, shift: float) -> None:
        super().__init__()
        self.name, self.ports = "peek", StagePorts(("thumb", "looked"), ("looked_next", "novelty"))
        self.register_buffer("steepness", torch.tensor(steepness))
        self.register_buffer("shift", torch.tensor(shift))
        self.steepness: Tensor
        self.shift: Tensor

    def forward(self, thumb: Tensor, looked: Tensor) -> tuple[Tensor, Tensor]:
        """Thumbnail uint8 [rows, 32, 40, 3] and state to the next state and `novelty` float32 [rows, 1] in 0..1."""
        here = cells(thumb)
        new = novelty(distance(here, looked), self.steepness, self.shift)
        own = torch.cat([here, torch.ones_like(here[:, :1])], dim=1)
        return torch.cat([own[:, None], looked[:, :-1]], dim=1), new


def fitted(distances: Tensor, changed: Tensor) -> tuple[float, float]:
    """Steepness and shift by logistic regression of `changed` (0..1) [n] on the distances [n]."""
    x = torch.log(distances + 1e-3)
    weights = nn.Parameter(torch.tensor([1.0, 0.0]))
    search = torch.optim.LBFGS([weights], max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        search.zero_grad()
        value = functional.binary_cross_entropy_with_logits(weights[0] * x + weights[1], changed)
        value = value + 1e-4 * weights.square().sum()
        value.backward()
        return value

    search.step(loss)
    return max(float(weights[0].detach()), 1e-3), float(weights[1].detach())
