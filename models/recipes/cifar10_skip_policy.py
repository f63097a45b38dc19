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
    words="""Seven residual blocks in four groups may each be skipped. A policy net of 1.3 MMACs reads the first
map once and says of every block whether it should run (after BlockDrop, Wu et al., CVPR 2018, which
trains it by REINFORCE; here it is trained by straight-through gradients); each stage repeats what
it said, for the router.""",
)


def recalibrate(folder: Path) -> None:
    """Refit the tables and the record of a package to the graphs that stand in `folder`."""
    RECIPE.recalibrate(folder)


if __name__ == "__main__":
    RECIPE.main()
