"""Muon: momentum made orthogonal (Jordan et al. 2024, kellerjordan.github.io/posts/muon), for convolution kernels.

Weights are kept at a fixed norm, as in airbench94_muon: batch norm makes their scale free, and the learning rate then
is the angle by which a step turns them; no weight decay is needed.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from models.training.precision import compute_dtype

# Quintic whose iterates bring every singular value near 1 in five steps (same source).
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrix: Tensor, steps: int = 5) -> Tensor:
    """[rows, columns] to about U V^T of its SVD, by Newton-Schulz iteration in the machine's training precision."""
    a, b, c = QUINTIC
    x = matrix.to(compute_dtype())
    x = x / (x.norm() + 1e-7)
    tall = x.size(0) > x.size(1)
    x = x.T if tall else x
    for _ in range(steps):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    turned: Tensor = (x.T if tall else x).to(matrix.dtype)
    return turned


class Muon(torch.optim.Optimizer):
    """Nesterov momentum, orthogonalised over [outputs, the rest]; for parameters of two axes or more."""

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every parameter that has a gradient."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._update(weight, group["lr"], group["momentum"])

    def _update(self, weight: Tensor, lr: float, momentum: float) -> None:
        buffer = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
        buffer.mul_(momentum).add_(weight.grad)
        nesterov = weight.grad.add(buffer, alpha=momentum) if weight.grad is not None else buffer
        turned = orthogonalise(nesterov.reshape(len(weight), -1)).view(weight.shape)
        weight.mul_(len(weight) ** 0.5 / weight.norm())
        weight.add_(turned, alpha=-lr)
