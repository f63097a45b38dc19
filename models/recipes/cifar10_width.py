"""Make the package cifar10-width again from nothing but cifar10-early-exit.

    python -m models.recipes.cifar10_width [--phase PHASE] [--work DIR] [--views DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them run in this order. Training resumes from its last
epoch. OFFRAMP_DATA names the folder of the data.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models import package
from models.calibration import fixed
from models.calibration.platt import fit_platt
from models.calibration.temperature import fit_temperature
from models.calibration.traverse import Stages
from models.calibration.walks import menu
from models.export import GraphStage, run, session
from models.nets import slimmable, value_head
from models.nets.bodies import COARSE, looked
from models.nets.body_stages import BodyGraph, FirstGraph
from models.nets.fold import folded
from models.nets.pretrained import early_exit_net
from models.nets.slimmable import SHARES, SlimmableNet
from models.nets.value_head import ValueHead
from models.recipes.cifar10_early_exit import SEED, parts, training_set
from models.recipes.grown import AUGMENTATION, Answers, Arrays, Recipe, first_stage_views
from models.recipes.routed import Entries
from models.route_findings import RouteFindings
from models.training.features import FeatureTrainer, taken
from models.training.loop import Plan
from models.training.losses import InPlaceLoss
from service.package.load import Package
from service.routing.width import turning_prices

PLAN = Plan(
    epochs=3,
    batch=256,
    seed=SEED,
    muon_lr=0.02,
    adam_lr=0.002,
    average_decay=0.99,
    augmentation=AUGMENTATION,
    loss=InPlaceLoss(smoothing=0.05),
    evaluate_every=1,
)
JUDGED = 16_000
"""Training images, in a view that no width was trained on, from which the value head learns which width is right."""
FIRST = "look"
WIDTHS = tuple(f"width{share * 100:.0f}" for share in SHARES)


WORDS = """The first look is the first stage of cifar10-early-exit, with its exit. Behind it stand four widths, 1/4,
1/2, 3/4 and all of 128 channels, of one slimmable body (Yu et al., ICLR 2019): they share kernels, each has norms and
a head of its own, adds its logits to a share of the look's, and is exported as a plain graph. A value head on the
look tells for leaving there and for each width how likely it is to be right; the router `width` takes the arg max of
that probability less price x GMACs (what the gate of DS-Net, CVPR 2021, learns to do for one trade-off)."""
TRAINING = """The widest width starts as the second stage of cifar10-early-exit; its channels, and so those of all
widths, are sorted by what its head reads of them. Sandwich rule (each step trains the narrowest, the widest and one
between them) with in-place distillation from the widest. The value head learned from the answers to {judged:,}
training images in a view that no width was trained on, and was calibrated (Platt) on the router split, by option. A
first epoch without the look's logits in the sum left the widths 1/4 and 1/2 below the look itself (80.0 and 85.2 % on
the router split, the look has 86.7): what the look knows must not be learned again by a narrow body. Sharing has a
price: on the router split the widest was right for 89.65 % as it started and for 88.85 % once its kernels served all
widths, so at its own cost it loses to a static net; more training doesn't win that back (eight epochs over two views
instead of three over one: 86.7, 87.7, 88.4, 88.7 % by width, instead of 87.1, 87.7, 88.7, 88.9), and the two narrowest
gain little over the look."""


class WidthRecipe(Recipe):
    """Slimmable widths, chosen by what each is worth."""

    def trainers(self, work: Path, seen: Path) -> Mapping[str, FeatureTrainer[SlimmableNet]]:
        """See `Recipe.trainers`."""
        data = training_set().take(parts().train)
        torch.manual_seed(PLAN.seed)
        net = slimmable.grown(early_exit_net(), data.images[:2000], classes=len(data.classes))
        watch = training_set().take(parts().router)
        views = first_stage_views(seen, count=1)
        return {"main": FeatureTrainer(net, views, data, watch, PLAN, work, compiled=False)}

    def graphs(self, net: SlimmableNet, seen: Path) -> list[GraphStage]:
        """See `Recipe.graphs`."""
        widths = [folded(stage) for stage in net.cut()]
        head = self.head(net, seen)
        bodies: list[GraphStage] = [BodyGraph(stage) for stage in widths]  # type: ignore[arg-type]
        return [stage.eval() for stage in (FirstGraph(net.trunk, FIRST, head), *bodies)]

    def answers(self, net: SlimmableNet, image: torch.Tensor) -> Answers:
        """See `Recipe.answers`."""
        first, *widths = net(image)
        return {(FIRST,): first} | {(FIRST, name): told for name, told in zip(WIDTHS, widths, strict=True)}

    def head(self, net: SlimmableNet, seen: Path) -> ValueHead:
        """Learns on training images which options are right, in a view that was not trained on."""
        view, labels = first_stage_views(seen, count=2)[1], training_set().labels[parts().train]
        head = ValueHead(COARSE, len(training_set().classes), 1 + len(SHARES))
        rows = np.random.default_rng(SEED).permutation(len(labels))[:JUDGED]
        felt, right = [], []
        with torch.no_grad():
            for some in np.array_split(np.sort(rows), JUDGED // 500):
                state = looked(net.trunk, taken(view, some))
                answers = [state["votes"], *(net.answer(place, state) for place in range(len(SHARES)))]
                felt.append(head.seen(state["coarse"], state["votes"]))
                goal = torch.from_numpy(labels[some])
                right.append(torch.stack([told.argmax(1) == goal for told in answers], dim=1))
        value_head.fit(head, torch.cat(felt), torch.cat(right), seed=SEED)
        return head.eval().requires_grad_(False)

    def told(self, work: Path, found: Package, findings: RouteFindings) -> str:
        """See `Recipe.told`."""
        return TRAINING.format(judged=JUDGED)

    def fitted(self, folder: Path, entries: Entries) -> tuple[Arrays, NDArray[np.float64]]:
        """See `Recipe.fitted`: temperatures, and what turns the head's values into probabilities."""
        data = training_set().take(parts().router)
        drafted = package.draft(folder, self.title, entries, data.classes, {})
        stages = Stages.of(drafted.manifest, folder)
        ways = np.eye(len(entries), dtype=bool)
        ways[:, 0] = True
        walks = fixed.walk_all(stages, ways, data.images)
        first = session(folder / f"{FIRST}.onnx", threads=2)
        values = np.concatenate(
            [run(first, {"image": some})["value"] for some in np.array_split(data.images, len(data) // 250)]
        )
        logits = np.log(np.maximum(walks.answers, 1e-30))
        platt = [fit_platt(values[:, way], walks.predictions[way] == data.labels) for way in range(len(ways))]
        scale, shift = (np.array(each, np.float32) for each in zip(*platt, strict=True))
        gmacs = (walks.macs[:, 0] - walks.macs[0, 0]) / 1e9
        # Prices below 0 as well: between the full walk and price 0 lie those that agree with the widest the most.
        turning = turning_prices(1 / (1 + np.exp(-(values * scale + shift))), gmacs)
        temperature = np.array([fit_temperature(each, data.labels) for each in logits], np.float32)
        return {"temperature": temperature, "value_scale": scale, "value_shift": shift}, menu(turning, least=-np.inf)


RECIPE = WidthRecipe(
    module="models.recipes.cifar10_width",
    title=package.Title(
        name="cifar10-width",
        version="1.0.0",
        modality="image",
        task="classification",
        family="dynamic-width",
        router="width",
        description="Ten classes of small photos (CIFAR-10): after a first look each image gets a width of its own.",
    ),
    after={FIRST: WIDTHS} | dict.fromkeys(WIDTHS, ()),
    words=WORDS,
)


def recalibrate(folder: Path) -> None:
    """Refit the tables and the record of a package to the graphs that stand in `folder`."""
    RECIPE.recalibrate(folder)


if __name__ == "__main__":
    RECIPE.main()
