"""What the trainer asks of a network of any family."""

import numpy as np
from torch import Tensor, nn

from models.nets.layers import Stem


class Network(nn.Module):
    """A classifier with one or several ways to an answer.

    In evaluation `forward` gives the logits [b, classes] of every exit, cheapest first; in training whatever the loss
    of its family takes.
    """

    stem: Stem
    """The first layer, whose filters are set from data before training."""
    settled_rate = 0.1
    """Share of Adam's learning rate at which `settled` parameters are tuned."""

    def settled(self) -> list[nn.Parameter]:
        """Parameters that were trained before, and have no norm after them to undo a large step."""
        return []

    @property
    def exits(self) -> int:
        """How many answers `forward` gives in evaluation."""
        raise NotImplementedError

    def draw(self, rng: np.random.Generator) -> None:
        """Choose what the next training step runs, where a family trains only some of its ways in a step."""

    def forward(self, image: Tensor) -> list[Tensor]:
        """uint8 [b, 32, 32, 3] to logits [b, classes]."""
        raise NotImplementedError
