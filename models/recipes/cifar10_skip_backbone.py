"""The residual backbone that the three packages with skipped blocks start from: trained once, shared by their recipes.

    python -m models.recipes.cifar10_skip_backbone [--work DIR]
"""

import argparse
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch

from models.data import cifar10, splits
from models.data.cifar10 import ImageSet
from models.nets.residual import ResidualNet, Shape, StochasticDepth
from models.training.augmentation import Augmentation
from models.training.loop import Plan, Trainer
from models.training.losses import ExitLoss

SEED = 0
ROUTER_SIZE, CALIBRATION_SIZE = 2_000, 5_000
PLAN = Plan(
    epochs=26,
    batch=512,
    seed=SEED,
    muon_lr=0.08,
    muon_momentum=0.85,
    adam_lr=0.004,
    average_decay=0.995,
    augmentation=Augmentation(shift=3, cutout=0),
    loss=ExitLoss(smoothing=0.05),
)


@cache
def training_set() -> ImageSet:
    """All 50,000 training images, decoded once."""
    return cifar10.load("train")


@cache
def parts() -> splits.Splits:
    """Which of them serve what."""
    return splits.stratified(training_set().labels, router=ROUTER_SIZE, calibration=CALIBRATION_SIZE, seed=SEED)


def trainer(work: Path) -> Trainer[ResidualNet]:
    """The backbone's trainer, new or resumed from `work`."""
    data = training_set()
    torch.manual_seed(PLAN.seed)
    net = ResidualNet(Shape(), len(data.classes), StochasticDepth())
    training = data.take(parts().train)
    net.stem.fit(torch.from_numpy(training.images[:5000]))
    return Trainer(net, training, data.take(parts().router), PLAN, work)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.cifar10_skip_backbone")
    parser.add_argument("--work", type=Path, default=Path("build/cifar10-skip-backbone"), help="checkpoint and log")
    trainer(parser.parse_args(arguments).work).run()


if __name__ == "__main__":
    main()
