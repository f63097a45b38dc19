"""Make the package cifar10-dynamic-kernels again from nothing.

    python -m models.recipes.cifar10_dynamic_kernels [--phase PHASE] [--work DIR] [--views DIR] [--package DIR]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from models.nets.pretrained import early_exit_net
from models.nets.dynamic_kernels import Make, grown
from models.nets.grown import GrownNet
from models.nets.multi_exit import FirstStage
from models.recipes import cifar10
from models.training.features import FeatureTrainer
from models.training.loop import Plan
from models.training.losses import ExitLoss

MAKES = {"dynamic": Make(), "static": Make(experts=0, expansion=2.4)}
"""The net that is shipped, and its twin: fixed kernels, hidden channels up to the same MACs."""
PLAN = Plan(
    epochs=2,
    batch=256,
    seed=cifar10.SEED,
    muon_lr=0.05,
    adam_lr=0.004,
    average_decay=0.99,
    augmentation=cifar10.AUGMENTATION,
    loss=ExitLoss(smoothing=0.05),
    evaluate_every=1,
)


def trainer(work: Path, seen: Path, name: str) -> FeatureTrainer[GrownNet]:
    """The trainer of the network or its twin, new or resumed."""
    data = cifar10.part("train")
    torch.manual_seed(PLAN.seed)
    trunk = early_exit_net().chain()[0]
    assert isinstance(trunk, FirstStage)
    net = grown(trunk, MAKES[name], classes=len(data.classes))
    views, watch = cifar10.trunk_views(seen, count=2), cifar10.part("router")
    return FeatureTrainer(net, views, data, watch, PLAN, work / name, compiled=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.cifar10_dynamic_kernels")
    parser.add_argument("--work", type=Path, default=Path("build/cifar10-dynamic-kernels"), help="checkpoint and log")
    parser.add_argument("--views", type=Path, default=Path("build/cifar10-views"), help="what the first stage made")
    args = parser.parse_args(arguments)
    for name in MAKES:
        trainer(args.work, args.views, name).run()


if __name__ == "__main__":
    main()
