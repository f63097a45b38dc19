"""Gradient equilibrium (Li et al., "Improved Techniques for Training Adaptive Deep Networks", ICCV 2019).

Exit i of K (from 0) shares its stage with the K-i-1 exits behind it. Unscaled, a stage would sum the gradients of all
of them, so early stages see the largest and noisiest; scaled, each sees a mean over the exits that it serves.
"""

from typing import Any

import torch
from torch import Tensor


class _ScaleGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0] * ctx.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """Identity forwards; the gradient is multiplied by `factor` backwards."""
    if factor == 1.0 or not torch.is_grad_enabled():
        return x
    scaled: Tensor = _ScaleGradient.apply(x, factor)
    return scaled


def equilibrium_factors(exits_from_here: int) -> tuple[float, float]:
    """(factor of this exit's branch, factor of the deeper branch) when `exits_from_here` exits see this map.

    >>> equilibrium_factors(4)
    (0.25, 0.75)
    """
    if exits_from_here < 1:
        raise ValueError("an exit counts itself: at least 1")
    share = 1.0 / exits_from_here
    return share, 1.0 - share
