"""What the recipes for CIFAR-10 share: the data and its splits, and views of it through the shipped first stage."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.data import cifar10, splits
from models.data.cifar10 import ImageSet
from models.nets.pretrained import EARLY_EXIT
from models.training.augmentation import Augmentation
from models.training.features import View, views

SEED = 0
ROUTER_SIZE, CALIBRATION_SIZE = 2_000, 5_000
AUGMENTATION = Augmentation(shift=4, cutout=8)
"""That of the first stage's own training."""


@cache
def training_set() -> ImageSet:
    """All 50,000 training images, decoded once."""
    return cifar10.load("train")


@cache
def devtest() -> ImageSet:
    """The 5,000 images that nothing is trained, tuned or chosen on."""
    return cifar10.load("devtest")


@cache
def parts() -> splits.Splits:
    """Which training images serve what; as for cifar10-early-exit."""
    return splits.stratified(training_set().labels, router=ROUTER_SIZE, calibration=CALIBRATION_SIZE, seed=SEED)


def part(name: str) -> ImageSet:
    """The images of a split: `train`, `router` or `calibration`."""
    index: NDArray[np.integer] = dict(parts().items())[name]
    return training_set().take(index)


def trunk_views(folder: Path, count: int) -> list[View]:
    """The shipped first stage's states for augmented training images, kept in `folder`: several recipes share them."""
    return views(EARLY_EXIT / "block1.onnx", part("train").images, AUGMENTATION, folder, count=count)
