"""Make the package cifar10-supernet again from nothing but cifar10-early-exit.

    python -m models.recipes.cifar10_supernet [--phase PHASE] [--work DIR] [--views DIR] [--package DIR]

Phases: train, export, calibrate, time, card; without one, all of them run in this order. Training resumes from its last
epoch. OFFRAMP_DATA names the folder of the data.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from models import package
from models.calibration import fixed
from models.calibration.gain_maps import expected_correctness, fit_gain_maps
from models.calibration.temperature import fit_temperature
from models.calibration.traverse import Stages, Traversal
from models.calibration.walks import menu
from models.data import cifar10
from models.data.cifar10 import ImageSet
from models.export import GraphStage
from models.findings import StaticNet
from models.nets import supernet
from models.nets.body_stages import BodyGraph, FirstGraph
from models.nets.fold import folded
from models.nets.pretrained import early_exit_net
from models.nets.supernet import Supernet
from models.recipes.cifar10_early_exit import SEED, parts, training_set
from models.recipes.grown import AUGMENTATION, Answers, Arrays, Recipe, first_stage_views, way_found
from models.recipes.routed import Entries
from models.route_findings import RouteFindings
from models.training.features import FeatureTrainer
from models.training.loop import Plan
from models.training.losses import ExitLoss
from service.package.load import Package
from service.routing.early_exit import softmax, worth
from service.routing.supernet import lead

PLAN = Plan(
    epochs=2,
    batch=256,
    seed=SEED,
    muon_lr=0.02,
    adam_lr=0.002,
    average_decay=0.99,
    augmentation=AUGMENTATION,
    loss=ExitLoss(smoothing=0.05),
    evaluate_every=1,
)
BRANCHES = {"animals": (2, 3, 4, 5, 6, 7), "vehicles": (0, 1, 8, 9)}
"""Classes that each branch learns, by their place among the labels."""
MIDDLE = 48
"""Channels of a branch; the general one has 128."""
VOTES = 0.2
"""Share of the votes that stand in the general branch's answer."""
GATE_MARGIN = 0.5
"""Below it the gate is unsure, and the walk goes to the general branch."""
BINS = 20
"""Bins of the margin; making the gain maps monotone joins those that the data can't tell apart."""
FORCED = {
    "trunk": "always the trunk alone",
    "branch": "always its branch",
    "general": "always general",
    "both": "always its branch, general",
}
"""Ways for every image, as the card names them; which branch is each image's own is up to the gate."""
TRUNK, GENERAL = "trunk", "general"


WORDS = """The trunk is the first stage of cifar10-early-exit, with its exit. Its answer, summed over classes, is the
gate: it names the branch for animals or the one for vehicles, which adds its votes (logits) to the trunk's; the
general branch, the second stage of cifar10-early-exit, may follow and add its own (after HydraNets, Mullapudi et al.,
CVPR 2018). Where the gate is unsure (the likelier branch leads by less than {margin}), the walk goes to the general
branch at once. At each exit it goes on while the expected gain in correctness, by the margin between the two
likeliest classes, is worth it."""
TRAINING = """Both branches have {middle} of the second stage's 128 channels, those that tell the branch's own classes
apart, and start from its weights. Each learned from the training images that the trunk sends it; the classes of a
branch are fixed, so that none can collapse or take over, and their costs are equal. The general branch is not
trained; of the votes that stand it takes a share of {votes}, chosen on the router split, as the gate's margin was."""


class SupernetRecipe(Recipe):
    """Specialised branches behind a trunk, and a general one."""

    def trainers(self, work: Path, seen: Path) -> Mapping[str, FeatureTrainer[Supernet]]:
        """See `Recipe.trainers`."""
        data = training_set().take(parts().train)
        torch.manual_seed(PLAN.seed)
        net = supernet.grown(early_exit_net(), BRANCHES, MIDDLE, data.images[:2000], classes=len(data.classes))
        watch = training_set().take(parts().router)
        return {"main": FeatureTrainer(net, first_stage_views(seen, 1), data, watch, PLAN, work, compiled=False)}

    def graphs(self, net: Supernet, seen: Path) -> list[GraphStage]:
        """See `Recipe.graphs`."""
        net.general.share.data.fill_(VOTES)
        net = folded(net)  # type: ignore[assignment]
        first = FirstGraph(net.trunk, TRUNK, votes=("first", "votes"))
        bodies: list[GraphStage] = [BodyGraph(stage, reads="first", writes="votes") for stage in net.bodies]
        return [stage.eval() for stage in (first, *bodies, BodyGraph(net.general))]

    def answers(self, net: Supernet, image: torch.Tensor) -> Answers:
        """See `Recipe.answers`."""
        return net.ways(image)

    def fitted(self, folder: Path, entries: Entries) -> tuple[Arrays, NDArray[np.float64]]:
        """See `Recipe.fitted`."""
        data = training_set().take(parts().router)
        drafted = package.draft(folder, self.title, entries, data.classes, {})
        stages = Stages.of(drafted.manifest, folder)
        tables = Fit.of(Walks.of(stages, data), data).tables()
        return tables, menu(np.concatenate([tables["trunk_worth"].ravel(), tables["branch_worth"].ravel()]))

    def told(self, work: Path, found: Package, findings: RouteFindings) -> str:
        """See `Recipe.told`."""
        return TRAINING.format(middle=MIDDLE, votes=VOTES)

    def fixed_ways(self, work: Path, seen: Path, found: Package, stage_ms: Mapping[str, float]) -> list[StaticNet]:
        """The trunk alone, its branch, its branch and the general one, or the general one at once, for every image."""
        devtest = cifar10.load("devtest")
        walks = Walks.of(Stages.of(found.manifest, found.path), devtest)
        right = {way: walks.logits[way].argmax(axis=1) == devtest.labels for way in FORCED}
        return [
            replace(way_found(found, walks.ran[way], right[way], stage_ms), name=name) for way, name in FORCED.items()
        ]


@dataclass(frozen=True)
class Walks:
    """What each way says of n images, the branch being each one's own: `logits` [n, classes] by way, `gate` [n, B]."""

    logits: Mapping[str, NDArray[np.floating]]
    ran: Mapping[str, NDArray[np.bool_]]
    macs: Mapping[str, int]
    gate: NDArray[np.floating]

    @classmethod
    def of(cls, stages: Stages, data: ImageSet) -> "Walks":
        """Through the graphs of a package."""
        ways = {
            "trunk": (0,), "animals": (0, 1), "vehicles": (0, 2), "general": (0, 3),
            "animals+": (0, 1, 3), "vehicles+": (0, 2, 3),
        }  # fmt: skip
        ran = np.array([[stage in way for stage in range(len(stages.graph.names))] for way in ways.values()])
        walks = fixed.walk_all(stages, ran, data.images)
        by_way = dict(zip(ways, np.log(np.maximum(walks.answers, 1e-30)), strict=True))
        costs = dict(zip(ways, walks.macs[:, 0].tolist(), strict=True))
        gate = gate_of(walks)
        animals = (gate.argmax(axis=1) == 0)[:, None]
        logits = {
            "trunk": by_way["trunk"],
            "branch": np.where(animals, by_way["animals"], by_way["vehicles"]),
            "general": by_way["general"],
            "both": np.where(animals, by_way["animals+"], by_way["vehicles+"]),
        }
        names = {"trunk": "trunk", "branch": "animals", "general": "general", "both": "animals+"}
        return cls(
            logits,
            {way: ran[list(ways).index(name)] for way, name in names.items()},
            {way: costs[name] for way, name in names.items()},
            gate,
        )


def gate_of(walks: Traversal) -> NDArray[np.floating]:
    """The trunk's probabilities, summed over each branch's classes: [n, B]; the trunk's way stands first."""
    return np.stack([walks.answers[0][:, list(known)].sum(axis=1) for known in BRANCHES.values()], axis=1)


@dataclass(frozen=True)
class Fit:
    """The router's tables in the making, from what each way says of the router split."""

    walks: Walks
    temperature: NDArray[np.float32]
    answers: Mapping[str, NDArray[np.float32]]

    @classmethod
    def of(cls, walks: Walks, data: ImageSet) -> "Fit":
        """Temperatures: of the trunk, of each branch on the images that it gets, of the general branch."""
        sent = walks.gate.argmax(axis=1)
        divisors = [fit_temperature(walks.logits["trunk"], data.labels)]
        for branch in range(len(BRANCHES)):
            rows = sent == branch
            divisors.append(fit_temperature(walks.logits["branch"][rows], data.labels[rows]))
        divisors.append(fit_temperature(walks.logits["both"], data.labels))
        temperature = np.array(divisors, np.float32)
        own = temperature[1:-1][sent][:, None]
        answers = {
            "trunk": softmax((walks.logits["trunk"] / temperature[0]).astype(np.float32)),
            "branch": softmax((walks.logits["branch"] / own).astype(np.float32)),
            "general": softmax((walks.logits["general"] / temperature[-1]).astype(np.float32)),
            "both": softmax((walks.logits["both"] / temperature[-1]).astype(np.float32)),
        }
        return cls(walks, temperature, answers)

    def tables(self) -> Arrays:
        """See service/routing/supernet.py."""
        gate = softmax((self.walks.logits["trunk"] / self.temperature[0]).astype(np.float32))
        shares = np.stack([gate[:, list(known)].sum(axis=1) for known in BRANCHES.values()], axis=1)
        way = np.where(lead(shares) < GATE_MARGIN, len(BRANCHES), shares.argmax(axis=1))
        chains = [self.chain(way == branch, ("trunk", "branch", "both")) for branch in range(len(BRANCHES))]
        unsure = self.chain(way == len(BRANCHES), ("trunk", "general"))
        branch_of = np.zeros(gate.shape[1], np.int16)
        for place, known in enumerate(BRANCHES.values()):
            branch_of[list(known)] = place
        return {
            "temperature": self.temperature,
            "branch_of": branch_of,
            "gate_margin": np.array([GATE_MARGIN], np.float32),
            "trunk_edges": np.stack([edges[0] for edges, _ in (*chains, unsure)]),
            "trunk_worth": np.stack([worths[0] for _, worths in (*chains, unsure)]),
            "branch_edges": np.stack([edges[1] for edges, _ in chains]),
            "branch_worth": np.stack([worths[1] for _, worths in chains]),
        }

    def chain(self, rows: NDArray[np.bool_], ways: tuple[str, ...]) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Bins of the margin [K-1, BINS + 1] and worth of going on in each [K-1, BINS], along a way's K exits."""
        answers = [self.answers[way][rows] for way in ways]
        predictions = np.stack([each.argmax(axis=1) for each in answers], axis=1)
        margins = np.stack([lead(each) for each in answers], axis=1).astype(np.float32)
        maps = fit_gain_maps(margins, expected_correctness(answers[-1], predictions), BINS)
        return maps.edges, worth(maps.gain, np.array([self.walks.macs[way] for way in ways]))


RECIPE = SupernetRecipe(
    module="models.recipes.cifar10_supernet",
    title=package.Title(
        name="cifar10-supernet",
        version="1.0.0",
        modality="image",
        task="classification",
        family="supernet",
        router="supernet",
        description="Ten classes of small photos (CIFAR-10) by branches for animals and vehicles, and a general one.",
    ),
    after={TRUNK: (*BRANCHES, GENERAL)} | dict.fromkeys(BRANCHES, (GENERAL,)) | {GENERAL: ()},
    words=WORDS.format(margin=GATE_MARGIN),
)


def recalibrate(folder: Path) -> None:
    """Refit the tables and the record of a package to the graphs that stand in `folder`."""
    RECIPE.recalibrate(folder)


if __name__ == "__main__":
    RECIPE.main()
