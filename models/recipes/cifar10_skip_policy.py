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
        default_agreement=0.98,
    ),
    way="policy",
    words="""Seven residual blocks in four groups may each be skipped. A policy net of 1.2 MMACs reads the first
map once and says of every block whether it should run (after BlockDrop, Wu et al., CVPR 2018, which
trains it by REINFORCE; here every way through the backbone is weighed); each stage repeats what it
said, for the router.""",
    found="""The target, 0.7 points below the full walk at 65 % of its MACs, is missed by one point: 0.1 points at 77 %,
0.7 at 70 %, 1.7 at 65 %, 2.4 at 60 %. (Before the backbone had a joining block and voted early, and the
policy learned from all ways, it was 4.6 at 64 %.) Decisions depend on the input: at 65 % blocks 3 and 4 run
for 37 and 50 % of the images. Blocks 1, 2 and 5 run for all there, and blocks 6 and 7 for none: late layers
bring little where the early head votes, which is static pruning of these two. Gates, which look later, and
halting lose less: one look at the first map tells less. Static nets of equal cost, trained as such, are
still better.""",
)


def recalibrate(folder: Path) -> None:
    """Refit the tables and the record of a package to the graphs that stand in `folder`."""
    RECIPE.recalibrate(folder)


if __name__ == "__main__":
    RECIPE.main()
