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
        version="1.0.0",
        modality="image",
        task="classification",
        family="skip-halting",
        router="skip-halting",
        description="Ten classes of small photos (CIFAR-10) "
        "by a residual network whose groups of blocks halt by accumulated scores.",
    ),
    way="halting",
    words="""Seven residual blocks in four groups run one after the other until the halting scores of the group's
maps add up (ACT, Graves 2016; by group as in SACT, Figurnov et al., CVPR 2017). A group's output is
the mean of its maps weighted by their scores, the last one with what is left to 1. The walk goes on
while what is left reaches the threshold of its price.""",
    found="""The target, 0.7 points below the full walk at 65 % of its MACs, is all but reached: 0.2 points at 75 %,
0.6 at 70 %, 0.7 at 66 %, 1.1 at 62 %, 1.5 at 58 %. (Before the backbone had a joining block and voted early,
and halting learned from all ways, it was 3.5 at 65 %.) Decisions depend on the input: at 66 % the third
group, half of all MACs, runs for 61 % of the images. Its first score decides nearly alone: the group's
blocks run all or not at all. Blocks 1 and 2 run for all there, and blocks 6 and 7 for few: late layers bring
little where the early head votes, which is static pruning of these two. Static nets of equal cost, trained
as such, are still better.""",
)


def recalibrate(folder: Path) -> None:
    """Refit the tables and the record of a package to the graphs that stand in `folder`."""
    RECIPE.recalibrate(folder)


if __name__ == "__main__":
    RECIPE.main()
