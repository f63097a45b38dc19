"""Make the package cifar10-width again from nothing.

    python -m models.recipes.cifar10_width [--phase PHASE] [--work DIR] [--views DIR] [--package DIR]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from models.nets.pretrained import early_exit_net
from models.nets.slimmable import SlimmableNet, grown
from models.recipes import cifar10
from models.training.features import FeatureTrainer
from models.training.loop import Plan
from models.training.losses import InPlaceLoss

PLAN = Plan(
    epochs=3,
    batch=256,
    seed=cifar10.SEED,
    muon_lr=0.02,
    adam_lr=0.002,
    average_decay=0.99,
    augmentation=cifar10.AUGMENTATION,
    loss=InPlaceLoss(smoothing=0.05),
    evaluate_every=1,
)


def trainer(work: Path, seen: Path) -> FeatureTrainer[SlimmableNet]:
    """The trainer of the network, new or resumed."""
    data = cifar10.part("train")
    torch.manual_seed(PLAN.seed)
    net = grown(early_exit_net(), data.images[:2000], classes=len(data.classes))
    return FeatureTrainer(net, cifar10.trunk_views(seen, count=1), data, cifar10.part("router"), PLAN, work, compiled=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.cifar10_width")
    parser.add_argument("--work", type=Path, default=Path("build/cifar10-width"), help="checkpoint and log")
    parser.add_argument("--views", type=Path, default=Path("build/cifar10-views"), help="what the first stage made")
    args = parser.parse_args(arguments)
    trainer(args.work, args.views).run()


if __name__ == "__main__":
    main()
