"""Make the package cifar10-dynamic-kernels again from nothing but cifar10-early-exit; and its static twin, to compare.

    python -m models.recipes.cifar10_dynamic_kernels [--phase PHASE] [--work DIR] [--views DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them run in this order. Training resumes from its last
epoch. OFFRAMP_DATA names the folder of the data.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from models import calibrate, half, package
from models.calibration.paired import Paired
from models.calibration.walks import price_path
from models.card import table
from models.data import cifar10
from models.data.cifar10 import ImageSet
from models.export import GraphStage, run, session
from models.macs import macs_per_row
from models.nets.dynamic_kernels import Make, graphs, grown
from models.nets.fold import folded
from models.nets.grown import GrownNet
from models.nets.multi_exit import FirstStage
from models.nets.pretrained import early_exit_net
from models.recipes.cifar10_early_exit import SEED, parts, training_set
from models.recipes.grown import AUGMENTATION, Answers, Arrays, Recipe
from models.recipes.routed import Entries, written
from models.route_findings import RouteFindings
from models.training.loop import Plan
from models.training.losses import InPlaceLoss
from models.training.taught import TaughtTrainer, taught_views
from service.package.load import Package

PLAN = Plan(
    epochs=12,
    batch=256,
    seed=SEED,
    muon_lr=0.05,
    adam_lr=0.004,
    average_decay=0.99,
    augmentation=AUGMENTATION,
    loss=InPlaceLoss(smoothing=0.05, labels_share=1.0),
    evaluate_every=1,
)
VIEWS = 3
"""Augmented views of the training images, met again every epoch."""
MAKES = {"dynamic": Make(), "static": Make(experts=0, expansion=2.4)}
"""The net that is shipped, and its twin: fixed kernels, hidden channels up to the same MACs."""
STAGES = ("block1", "block2", "block3")
MIXED = 1_000
"""Images of devtest whose mixtures the card shows."""


class KernelsRecipe(Recipe):
    """Kernels mixed per image, in a chain of stages with an exit each."""

    def trainers(self, work: Path, seen: Path) -> Mapping[str, TaughtTrainer[GrownNet]]:
        """See `Recipe.trainers`."""
        data, watch = training_set().take(parts().train), training_set().take(parts().router)
        views = taught_views(early_exit_net(), data.images, AUGMENTATION, seen, count=VIEWS)
        return {
            name: TaughtTrainer(_net(make), views, data, watch, PLAN, work / name, compiled=False)
            for name, make in MAKES.items()
        }

    def trained(self, work: Path, seen: Path) -> GrownNet:
        """See `Routed.trained`; norms folded, and weights as the graphs keep them."""
        return rounded(super().trained(work, seen))

    def graphs(self, net: GrownNet, seen: Path) -> list[GraphStage]:
        """See `Recipe.graphs`."""
        return graphs(net)

    def answers(self, net: GrownNet, image: torch.Tensor) -> Answers:
        """See `Recipe.answers`."""
        return {STAGES[: place + 1]: logits for place, logits in enumerate(net(image))}

    def export(self, work: Path, seen: Path, folder: Path) -> None:
        """The package's graphs, and the twin's beside the checkpoints."""
        super().export(work, seen, folder)
        twin = rounded(self.trainers(work, seen)["static"].averaged)
        images = training_set().images[parts().router]
        written(graphs(twin), images, work / "twin", halved=True)

    def fitted(self, folder: Path, entries: Entries) -> tuple[Arrays, NDArray[np.float64]]:
        """See `Recipe.fitted`."""
        data = training_set().take(parts().router)
        logits = calibrate.exit_logits(_files(folder), data.images)
        router = calibrate.fit_router(logits, data.labels, package.exit_macs(entries))
        return calibrate.router_arrays(router), price_path(router.maps, router.exit_macs)

    def told(self, work: Path, found: Package, findings: RouteFindings) -> str:
        """Mixed kernels against the twin."""
        devtest = cifar10.load("devtest")
        right = {
            name: calibrate.exit_logits(_files(folder), devtest.images).argmax(axis=2) == devtest.labels
            for name, folder in {"dynamic": found.path, "static": work / "twin"}.items()
        }
        twin_macs = [macs_per_row(onnx.load(file)) for file in _files(work / "twin")]
        rows = [
            [
                stage,
                f"{macs / 1e6:.2f}",
                f"{own.mean():.2%}",
                f"{twin / 1e6:.2f}",
                f"{other.mean():.2%}",
                str(Paired.of(own, other)),
            ]
            for stage, macs, own, twin, other in zip(
                STAGES[1:],
                np.cumsum(found.graph.macs)[1:],
                right["dynamic"][1:],
                np.cumsum(twin_macs)[1:],
                right["static"][1:],
                strict=True,
            )
        ]
        head = ["exit after", "MMACs", "mixed kernels", "MMACs", "fixed kernels", "difference"]
        twins = f"{TWIN}\n\n{table(head, rows)}"
        return f"{FOUND}\n\n### Representation power: mixed against fixed kernels\n{twins}\n\n{mixing(found, devtest)}"


def mixing(found: Package, data: ImageSet) -> str:
    """How kernels are mixed, in Markdown: by mixed layer the mean share of each kernel, and how that differs."""
    state: Arrays = {"image": data.images[:MIXED]}
    for file in _files(found.path):
        state |= run(session(file, threads=2), state)
    labels = data.labels[:MIXED]
    rows = []
    for layer in range(1, sum(name.startswith("mixture") for name in state) + 1):
        shares = state[f"mixture{layer}"]
        by_class = np.stack([shares[labels == label].mean(axis=0) for label in np.unique(labels)])
        between = by_class.var(axis=0).sum() / shares.var(axis=0).sum()
        means = ", ".join(f"{mean:.2f}" for mean in shares.mean(axis=0))
        rows.append([f"mixture{layer}", means, f"{shares.std(axis=0).mean():.3f}", f"{between:.0%}"])
    head = ["layer", "mean share of each kernel", "standard deviation over images", "variance between classes"]
    return f"{MIXTURES.format(MIXED)}\n\n{table(head, rows)}"


WORDS = """The first stage is that of cifar10-early-exit. In the two stages behind it pairs of 1x1 convolutions have
kernels of their own for each image, mixed from 4 experts by a softmax attention over the block's pooled features
(CondConv, Yang et al., NeurIPS 2019; Dynamic Convolution, Chen et al., CVPR 2020), and what a pair makes is scaled by
squeeze and excitation (Hu et al., CVPR 2018). A mixed 1x1 kernel is one matrix a row: exact in batches of any size,
at the cost of the fixed kernel plus the mixing. Each stage has an exit, routed as by `early-exit`, and adds its logits
to a share of the votes of the stage before; `explain` tells the shares of the kernels."""
FOUND = """Both nets learned from labels and from the last exit of cifar10-early-exit, from random weights. With two
epochs over one view, as before, the full walk was right for 85.80 %, hardly more often than the first stage alone; it
takes time to learn what is behind it. Static nets of equal cost still win: the first stage costs what a static net of
87 % does, and what stands behind it is small. It isn't that the first stage knew its training images by heart: in the
augmented view its votes are right for 86.4 % of them (8,000), about as often as on unseen images, and the teacher for
95.8 %."""
TWIN = """The static twin has the same make without attention, mixing and excitation; its 1x1 layers are wider, up to
the same MACs. Same data, views, seed, plan, teacher and first stage. On devtest:"""
MIXTURES = """Do kernels depend on the image? On {:,} images of devtest, by mixed layer in walking order:"""


def rounded(net: GrownNet) -> GrownNet:
    """A copy with norms folded and large weights as float16 holds them."""
    return half.round_weights(folded(net))  # type: ignore[return-value]


def _net(make: Make) -> GrownNet:
    torch.manual_seed(PLAN.seed)
    trunk = early_exit_net().chain()[0]
    assert isinstance(trunk, FirstStage)
    return grown(trunk, make, classes=len(training_set().classes))


def _files(folder: Path) -> list[Path]:
    return [folder / f"{name}.onnx" for name in STAGES]


RECIPE = KernelsRecipe(
    module="models.recipes.cifar10_dynamic_kernels",
    title=package.Title(
        name="cifar10-dynamic-kernels",
        version="1.1.0",
        modality="image",
        task="classification",
        family="dynamic-kernels",
        router="dynamic-kernels",
        description="Ten classes of small photos (CIFAR-10) by a network that mixes its kernels anew for each image.",
    ),
    halved=True,
    after={"block1": ("block2",), "block2": ("block3",), "block3": ()},
    words=WORDS,
)


def recalibrate(folder: Path) -> None:
    """Refit the tables and the record of a package to the graphs that stand in `folder`."""
    RECIPE.recalibrate(folder)


if __name__ == "__main__":
    RECIPE.main()
