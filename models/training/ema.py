"""Exponential moving average of weights and of batch-norm statistics."""

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Net = TypeVar("Net", bound=nn.Module)


class Average(Generic[Net]):
    """`net` holds the average; `decay` per update, shorter while few updates have been seen."""

    def __init__(self, source: Net, decay: float) -> None:
        self.net = copy.deepcopy(source).eval().requires_grad_(False)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, source: nn.Module) -> None:
        """Move the average towards the weights of `source`."""
        self.updates += 1
        share = 1 - min(self.decay, (1 + self.updates) / (10 + self.updates))
        for mean, value in zip(self.net.state_dict().values(), source.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, share)
            else:
                mean.copy_(value)
