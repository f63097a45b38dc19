"""Make the package cifar10-skip-halting again from nothing but cifar10-early-exit.

    python -m models.recipes.cifar10_skip_halting [--phase PHASE] [--work DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them run in this order. OFFRAMP_DATA names the folder
of the data.
"""

from pathlib import Path

from models import package
from models.recipes.skipping import Recipe

RECIPE = Recipe(
    module="models.recipes.cifar10_skip_halting",
    title=package.Title(
        name="cifar10-skip-halting",
        version="2.0.0",
        modality="image",
        task="classification",
        family="skip-halting",
        router="skip-halting",
        description="Ten classes of small photos (CIFAR-10) "
        "by a residual network whose groups of blocks halt by accumulated scores.",
    ),
    way="halting",
    words="""Five residual blocks in two groups, after a trunk that always runs, run one after the other until the
halting scores of what the group has so far add up (ACT, Graves 2016; by group as in SACT, Figurnov et al.,
CVPR 2017). A group's map and votes are the means of those after each block, weighted by their scores, the
last ones with what is left to 1. The walk goes on while what is left reaches the threshold of its price.""",
    found="""The target, 0.7 points below the full walk at 65 % of its MACs, is met with much to spare: nothing is lost
at 44 %, 0.1 points at 41 %, 1.5 at 30 %. (The former network, whose blocks didn't vote and whose first layers
were blocks as well, lost 0.9 points at 65 % of 63 MMACs, and static nets of equal cost were better.)
Decisions depend on the input: each group runs for some images and not for others. Its first score decides nearly
alone: a group's blocks run all or not at all, so this is an early exit that was learned by ACT. Between 30 and 41 %
no price has a setting: those that there are lie below the line between their neighbours.""",
)


def recalibrate(folder: Path) -> None:
    """Refit the tables and the record of a package to the graphs that stand in `folder`."""
    RECIPE.recalibrate(folder)


if __name__ == "__main__":
    RECIPE.main()
