"""The network that the three packages with skipped blocks share: one backbone and three ways to decide, trained as one.

python -m models.recipes.cifar10_skip_backbone [--work DIR]
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from models.nets.pretrained import early_exit_net
from models.nets.residual import grown
from models.nets.skipping import WAYS, SkipNet
from models.recipes.cifar10_early_exit import SEED, parts, training_set
from models.training.augmentation import Augmentation
from models.training.loop import Plan, Trainer
from models.training.losses import InPlaceLoss

PLAN = Plan(
    epochs=3,
    batch=128,
    seed=SEED,
    adam_lr=0.002,
    average_decay=0.995,
    augmentation=Augmentation(shift=4, cutout=8),
    loss=InPlaceLoss(smoothing=0.05, labels_share=0.5, distillation=0.5),
    evaluate_every=1,
)


TUNED = 0.7
"""Share of the way from the weights as grown to the tuned ones at which the shipped weights lie."""


def trainer(work: Path) -> Trainer[SkipNet]:
    """The backbone's trainer, new or resumed from `work`."""
    data = training_set()
    net = SkipNet(grown(early_exit_net()), tuple(WAYS))
    return Trainer(net, data.take(parts().train), data.take(parts().router), PLAN, work, compiled=False)


@torch.no_grad()
def blended(net: SkipNet) -> SkipNet:
    """The tuned network, in place, drawn back towards the one it was grown on (WiSE-FT, Wortsman et al., CVPR 2022).

    Tuning teaches walks to do without blocks, and costs the walk through all of them; between the two networks most of
    both is kept.
    """
    before = grown(early_exit_net()).state_dict()
    for name, weights in net.backbone.state_dict().items():
        if weights.is_floating_point():
            weights.copy_(torch.lerp(before[name], weights, TUNED))
    return net


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.cifar10_skip_backbone")
    parser.add_argument("--work", type=Path, default=Path("build/cifar10-skip-backbone"), help="checkpoint and log")
    trainer(parser.parse_args(arguments).work).run()


if __name__ == "__main__":
    main()
