"""Make the package cifar10-skip-policy again from nothing but cifar10-early-exit.

    python -m models.recipes.cifar10_skip_policy [--phase PHASE] [--work DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them run in this order. OFFRAMP_DATA names the folder
of the data.
"""

from pathlib import Path

from models import package
from models.recipes.skipping import Recipe

RECIPE = Recipe(
    module="models.recipes.cifar10_skip_policy",
    title=package.Title(
        name="cifar10-skip-policy",
        version="1.0.0",
        modality="image",
        task="classification",
        family="skip-policy",
        router="skip-policy",
        description="Ten classes of small photos (CIFAR-10) "
        "by a residual network whose blocks are chosen by a policy that looks once.",
    ),
    way="policy",
    words="""Seven residual blocks in four groups may each be skipped. A policy net of 1.2 MMACs reads the first
map once and says of every block whether it should run (after BlockDrop, Wu et al., CVPR 2018, which
trains it by REINFORCE; here it is trained by straight-through gradients); each stage repeats what
it said, for the router.""",
    found="""The target, 0.7 points below the full walk at 65 % of its MACs, is missed: 0.3 points at 87 %, 0.9 at 82 %,
1.3 at 77 %, 4.6 at 64 %, and static nets of equal cost are better. Between 100 % and 77 % the policy decides
by input about blocks 5 to 7, and about blocks 3 and 4 around 64 %; blocks 1 and 2 run for nearly every input
down to 55 %, and at 77 % blocks 5 to 7 are off for all, which is static pruning. Nor does the policy clearly
beat fixed ways: at 52 MMACs the path is one itself (blocks 1 to 4 for nearly all), which is not among the
five in the table, and at 61 MMACs both are equal. Why: the first four blocks come from a network in which
every input had them, and two epochs don't make the rest cope without; the dearest price in training (2 nats a
full walk) lies below what they are worth on average. The policy itself costs 1.2 MMACs, 2 % of the full walk.
More epochs and dearer prices (models.nets.skipping.Pricing) are what to try next; neither has been tried.""",
)


def recalibrate(folder: Path) -> None:
    """Refit the tables and the record of a package to the graphs that stand in `folder`."""
    RECIPE.recalibrate(folder)


if __name__ == "__main__":
    RECIPE.main()
