"""Training on what a frozen first stage makes of the images, taught by the whole network that the stage comes from."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.nets.multi_exit import FirstStage, MultiExitNet
from models.training.augmentation import Augmentation
from models.training.features import FeatureTrainer, View, kept
from models.training.loop import Net
from models.training.precision import autocast

GOAL = "goal"
"""In a view: the last answer of the whole network, the teacher's, as logits."""


def taught_views(
    teacher: MultiExitNet, images: NDArray[np.uint8], augmentation: Augmentation, folder: Path, *, count: int
) -> list[View]:
    """`fine`, `coarse` and `goal` for augmented images, `count` times; computed in the machine's training precision."""
    first, *later = teacher.chain()
    assert isinstance(first, FirstStage)

    @torch.no_grad()
    def make(drawn: NDArray[np.uint8]) -> dict[str, NDArray[Any]]:
        with autocast():
            state = first.features({"image": torch.from_numpy(drawn)})
            made = {**state, GOAL: teacher.walk(later, state)[-1]}
        return {name: tensor.float().numpy() for name, tensor in made.items()}

    return kept(lambda: make, [*first.outputs, GOAL], images, augmentation, folder, count=count)


class TaughtTrainer(FeatureTrainer[Net]):
    """On such views: the loss gets the teacher's logits (Hinton et al., 2015) as the last answer."""

    def _loss(self, images: Any, labels: Tensor) -> Tensor:
        state = dict(images)
        goal = state.pop(GOAL)
        with autocast():
            return self.plan.loss([*self.net(state), goal], labels)
