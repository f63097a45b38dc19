"""The network that the three packages with skipped blocks share: one backbone and three ways to decide, trained as one.

python -m models.recipes.cifar10_skip_backbone [--work DIR]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from models.nets.pretrained import early_exit_net
from models.nets.residual import grown
from models.nets.skipping import WAYS, SkipNet
from models.recipes.cifar10_early_exit import SEED, parts, training_set
from models.training.augmentation import Augmentation
from models.training.loop import Plan, Trainer
from models.training.losses import InPlaceLoss

PLAN = Plan(
    epochs=8,
    batch=128,
    seed=SEED,
    adam_lr=0.002,
    average_decay=0.998,
    augmentation=Augmentation(shift=4, cutout=8),
    loss=InPlaceLoss(smoothing=0.05, labels_share=0.5, distillation=0.5),
    evaluate_every=1,
)


def trainer(work: Path) -> Trainer[SkipNet]:
    """The backbone's trainer, new or resumed from `work`."""
    data = training_set()
    net = SkipNet(grown(early_exit_net()), tuple(WAYS))
    return Trainer(net, data.take(parts().train), data.take(parts().router), PLAN, work, compiled=False)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.cifar10_skip_backbone")
    parser.add_argument("--work", type=Path, default=Path("build/cifar10-skip-backbone"), help="checkpoint and log")
    trainer(parser.parse_args(arguments).work).run()


if __name__ == "__main__":
    main()
