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
        version="2.0.0",
        modality="image",
        task="classification",
        family="skip-policy",
        router="skip-policy",
        description="Ten classes of small photos (CIFAR-10) "
        "by a residual network whose blocks are chosen by a policy that looks once.",
    ),
    way="policy",
    words="""Five residual blocks in two groups, after a trunk that always runs, may each be skipped. A policy reads the
pooled map and the votes of the trunk once and says of every block whether it should run (after BlockDrop,
Wu et al., CVPR 2018, whose policy is a network of its own that sees the image, trained by REINFORCE; here
every way through the backbone is weighed); each stage repeats what it said, for the router.""",
    found="""The target, 0.7 points below the full walk at 65 % of its MACs, is met with much to spare: nothing is lost
at 49 %, 0.3 points at 44 %, 1.4 at 33 %. (The former network, whose blocks didn't vote and whose policy looked before
any block, lost 1.7 points at 65 % of 63 MMACs, and static nets of equal cost were better.)
Decisions depend on the input: every block runs for some images and not for others, in eight different walks
at the default price. Gates and halting, which look again after each block, save more: at the trunk nobody knows
yet for which images the first group will be enough.""",
)


def recalibrate(folder: Path) -> None:
    """Refit the tables and the record of a package to the graphs that stand in `folder`."""
    RECIPE.recalibrate(folder)


if __name__ == "__main__":
    RECIPE.main()
