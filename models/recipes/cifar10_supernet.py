"""Make the package cifar10-supernet again from nothing.

    python -m models.recipes.cifar10_supernet [--phase PHASE] [--work DIR] [--views DIR] [--package DIR]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from models.nets.pretrained import early_exit_net
from models.nets.supernet import Supernet, grown
from models.recipes import cifar10
from models.training.features import FeatureTrainer
from models.training.loop import Plan
from models.training.losses import ExitLoss

BRANCHES = {"animals": (2, 3, 4, 5, 6, 7), "vehicles": (0, 1, 8, 9)}
MIDDLE = 48
PLAN = Plan(
    epochs=4,
    batch=256,
    seed=cifar10.SEED,
    muon_lr=0.02,
    adam_lr=0.002,
    average_decay=0.99,
    augmentation=cifar10.AUGMENTATION,
    loss=ExitLoss(smoothing=0.05),
    evaluate_every=1,
)


def trainer(work: Path, seen: Path) -> FeatureTrainer[Supernet]:
    """The trainer of the network, new or resumed."""
    data = cifar10.part("train")
    torch.manual_seed(PLAN.seed)
    net = grown(early_exit_net(), BRANCHES, MIDDLE, data.images[:2000], classes=len(data.classes))
    return FeatureTrainer(net, cifar10.trunk_views(seen, count=1), data, cifar10.part("router"), PLAN, work, compiled=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.cifar10_supernet")
    parser.add_argument("--work", type=Path, default=Path("build/cifar10-supernet"), help="checkpoint and log")
    parser.add_argument("--views", type=Path, default=Path("build/cifar10-views"), help="what the first stage made")
    args = parser.parse_args(arguments)
    trainer(args.work, args.views).run()


if __name__ == "__main__":
    main()
