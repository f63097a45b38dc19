"""What the recipes of the three packages with skipped blocks share: everything but the way to decide, and words.

Their networks have one backbone (models/recipes/cifar10_skip_backbone.py), which the first recipe trains. Each recipe
then fits its own way to decide, exports its stages, calibrates and writes the card.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models import export, half, package
from models.calibration import fixed
from models.calibration.knobs import price_knobs
from models.calibration.temperature import fit_temperature
from models.calibration.traverse import Stages, Traversal, traverse
from models.data import cifar10
from models.data.cifar10 import ImageSet
from models.findings import Share, StaticNet
from models.nets.fold import folded
from models.nets.skip_stages import STARTS, SkipStage, skip_stages
from models.nets.skipping import SkipNet, Terms
from models.recipes import cifar10_skip_backbone as backbone
from models.recipes.cifar10_early_exit import GLIMPSES, SEED, parts, training_set
from models.recipes.routed import Entries, Routed, walked, written
from models.route_findings import RouteFindings
from models.training.loop import Trainer
from models.training.worth import Ways, explore, learn
from service.core import CHEAPEST
from service.package.load import Package
from service.routing.base import build

SETTINGS = np.concatenate([[0.0], 1 / (1 + np.exp(-np.linspace(-5, 5, 81))), [2.0]])
"""Thresholds that are walked on the router split: from every block to none."""
PLACES = np.arange(len(SETTINGS), dtype=np.float64)
"""Their indexes, which are their prices while they are not priced."""
BEST_FIXED = 5
"""Fixed ways shown on the card."""
CHOOSING = 400
"""Images of the router split on which they are chosen."""
EXPLORED = 12_000
"""Training images, augmented anew, through which every way is walked."""
STEPS, RATE = 2_500, 2e-3
"""Of the deciders' training."""

TRAINING = """The backbone is grown on cifar10-early-exit, whose layers up to the third exit are all here. The first
stage with its exit always runs, and isn't trained further. What follows is cut into blocks: the convolution that joins
the fine map, two residual units, the convolution that widens the map, a residual unit. Each adds to the map and, by a
head of its own, to the votes. All blocks were tuned on: `python -m models.recipes.cifar10_skip_backbone` walks through
every block, and once more through blocks drawn at random (stochastic depth, or only the first few); the first walk
learns from the labels and teaches the second. The ways to decide (gates, a policy, halting; two are packages of their
own) were learned after that, on {explored:,} training images, augmented anew, through which all 32 ways were walked:
the loss is the expectation over the ways of the probability of a wrong class, sharpened, plus price x cost, exact and
without straight-through gradients, REINFORCE or samples (models/training/worth.py). A decider sees the pooled map and
how sure the votes are. Calibration judges {settings} thresholds on the router split by the mean probability of the true
class and keeps their concave hull. Fixed ways (the same blocks for every image): of all that there are, the best by
cost on 400 images of the router split, and of those five, spread evenly.

Tried and not kept: judging ways by the probability of the true class as the votes have it (on the router split 88.2 %
instead of 89.1 at 30 % of the MACs by gates: smoothed labels keep votes modest, and compute went into making right
answers surer); 6,000 steps for the deciders instead of 2,500 (no gain)."""
LIMITS = """- Ten classes; anything else gets one of them, at times with a high score.
- Certificates hold on average for images like the calibration split: sharper, larger or differently compressed photos
  shrunk to 32x32 aren't like them.
- Walks forced by a deadline or a compute limit are outside the certificate.
- One training run, one seed: intervals are those of the test sample, not of training. They are 95 % Wilson intervals,
  each for itself."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Routed):
    """One of the three packages; `found` says what came of it."""

    way: str
    found: str = ""

    @property
    def folder(self) -> Path:
        """See `Routed.folder`; shared by the three recipes."""
        return Path("build/cifar10-skip")

    def own(self, work: Path, name: str) -> Path:
        """See `Routed.own`."""
        folder = work / self.way
        folder.mkdir(parents=True, exist_ok=True)
        return folder / name

    def done(self, work: Path, seen: Path) -> Trainer[Any]:
        """See `Routed.done`: the shared network's."""
        return backbone.trainer(work / "backbone")

    def trained(self, work: Path, seen: Path) -> SkipNet:
        """See `Routed.trained`; norms folded, and weights as the graphs keep them."""
        net: SkipNet = super().trained(work, seen)
        net.ways[self.way].load_state_dict(torch.load(self.own(work, "way.pt"), weights_only=True))
        return half.round_weights(folded(net))  # type: ignore[return-value]

    def train(self, work: Path, seen: Path, folder: Path) -> None:
        """Train the shared network, unless it is there, and then this way to decide."""
        net: SkipNet = self.done(work, seen).run()
        lost = learn(net, self.way, explored(net, work / "explored.pt"), seed=SEED, steps=STEPS, lr=RATE)
        print(f"{self.way}: loses {lost:.4f}", flush=True)
        torch.save(net.ways[self.way].state_dict(), self.own(work, "way.pt"))

    def export(self, work: Path, seen: Path, folder: Path) -> None:
        """See `Routed.export`."""
        net = self.trained(work, seen)
        images = training_set().images[parts().router]
        stages = skip_stages(net, self.way)
        files = written(stages, images, folder, halved=True)
        worst = export.stage_parity(stages, files, images)
        worst["walk"] = walk_parity(net, self.way, self.drafted(folder, entries(stages, folder)), images)
        export.require_parity(worst)
        self.own(work, "parity.json").write_text(json.dumps(worst, indent=1))

    def drafted(self, folder: Path, stages: Entries) -> Package:
        """The package with the settings' indexes as prices."""
        return drafted(folder, self.title, stages, training_set().classes)

    def entries(self, work: Path, seen: Path, folder: Path) -> Entries:
        """See `Routed.entries`."""
        return entries(skip_stages(self.trained(work, seen), self.way), folder)

    def write(self, folder: Path, entries: Entries, provenance: Mapping[str, Any]) -> None:
        """See `Routed.write`."""
        data = training_set()
        drafted = self.drafted(folder, entries)
        sessions = Stages.of(drafted.manifest, folder)
        router_split = data.take(parts().router)
        tables = fitted(traverse(sessions, build(drafted), {"image": router_split.images}, PLACES), router_split)
        prices = np.array([*tables["knob_prices"][:-1], CHEAPEST])
        split = data.take(parts().calibration)
        served = package.draft(folder, self.title, entries, data.classes, tables)
        record = walked(served, split.images, prices).record(prices, split.labels)
        arrays = tables | record | {"router_index": parts().router, "calibration_index": parts().calibration}
        package.write(folder, self.title, entries, data.classes, arrays, provenance)

    def fixed_ways(self, work: Path, seen: Path, found: Package, stage_ms: Mapping[str, float]) -> list[StaticNet]:
        """See `Routed.fixed_ways`."""
        return fixed_ways(self.trained(work, seen), cifar10.load("devtest"), work / "fixed", stage_ms)

    def text(self, work: Path, found: Package, findings: RouteFindings, facts: str) -> tuple[str, str]:
        """See `Routed.text`."""
        return f"{TRAINING.format(explored=EXPLORED, settings=len(SETTINGS) - 2)}\n{facts}\n\n{self.found}", LIMITS


def explored(net: SkipNet, file: Path) -> Ways:
    """What every way through the network says of some training images; kept in `file` for the other recipes."""
    if file.exists():
        return Ways(**torch.load(file, weights_only=True))
    data, rng = training_set().take(parts().train), np.random.default_rng(SEED)
    rows = np.sort(rng.permutation(len(data))[:EXPLORED])
    views, plan = data.images[rows], backbone.PLAN.augmentation
    images = plan.draw(plan.pad(views), np.arange(len(rows)), rng.random(len(rows)) < 0.5, rng)
    found = explore(net, images, data.labels[rows])
    torch.save(vars(found), file)
    return found


def drafted(folder: Path, title: package.Title, stages: Entries, labels: Sequence[str]) -> Package:
    """A package whose router knows every setting, by its index as a price."""
    prices = np.array([-np.inf, *range(1, len(SETTINGS))])
    tables = {"knob_prices": prices, "knobs": SETTINGS.astype(np.float32), "temperature": np.ones(1, np.float32)}
    return package.draft(folder, title, stages, labels, tables)


def walk_parity(net: SkipNet, way: str, draft: Package, images: NDArray[np.uint8]) -> float:
    """Largest difference of log-probabilities between walks of the graphs by the router and torch's.

    Walks at every setting, in batches of 1, 2 and 7; inf if one of them takes another route than torch's.
    """
    router, sessions = build(draft), Stages.of(draft.manifest, draft.path)
    blocks = [place for place, name in enumerate(draft.graph.names) if name.startswith("block")]
    worst = 0.0
    for rows in export.BATCHES:
        walks = traverse(sessions, router, {"image": images[:rows]}, PLACES)
        for place, setting in enumerate(SETTINGS.astype(np.float32)):
            with torch.no_grad():
                terms = Terms(torch.full((rows,), float(setting)))
                logits, ran = net.eval().walk(way, torch.from_numpy(images[:rows]), terms)
            if not np.array_equal(walks.routes[walks.route[place]][:, blocks], ran.numpy()):
                return float("inf")
            expected = torch.log_softmax(logits, dim=1).numpy()
            worst = float(np.maximum(worst, np.abs(np.log(walks.answers[place]) - expected).max()))
    return worst


def entries(stages: Sequence[SkipStage], folder: Path) -> list[dict[str, Any]]:
    """Manifest entries of the exported stages."""
    answering = [stage.name for stage in stages if stage.answers]
    exits = {name: f"exit{place + 1}" for place, name in enumerate(answering)}
    return [
        package.stage_entry(folder / f"{stage.name}.onnx", stage.next, GLIMPSES, exit_name=exits.get(stage.name))
        for stage in stages
    ]


def fitted(walks: Traversal, data: ImageSet) -> dict[str, NDArray[Any]]:
    """The router's tables, from walks of the router split at every setting.

    A setting is judged by the mean probability of the true class: it grows with accuracy, and needs fewer images.
    """
    logits = np.log(np.maximum(walks.answers, 1e-30))
    temperature = fit_temperature(logits.reshape(-1, logits.shape[2]), np.tile(data.labels, len(logits)))
    powers = np.exp((logits - logits.max(axis=2, keepdims=True)) / temperature)
    sure = (powers / powers.sum(axis=2, keepdims=True))[:, np.arange(len(data)), data.labels].mean(axis=1)
    macs = walks.macs.mean(axis=1)
    _, distinct = np.unique(macs, return_index=True)
    prices, knobs = price_knobs(SETTINGS[distinct].tolist(), macs[distinct], sure[distinct])
    # Of settings with the same walks on this split, the outermost: every block at "full", none at "cheapest".
    knobs[0], knobs[-1] = SETTINGS[0], SETTINGS[-1]
    return {"knob_prices": prices, "knobs": knobs, "temperature": np.array([temperature], np.float32)}


def fixed_ways(net: SkipNet, devtest: ImageSet, folder: Path, stage_ms: Mapping[str, float]) -> list[StaticNet]:
    """The best ways through the backbone that are the same for every image; kept in `folder` for the other recipes.

    Chosen on a part of the router split, of all that there are, and measured on devtest. The gates, which nobody asks,
    count, with their few thousand MACs.
    """
    file = folder / "ways.json"
    if not file.exists():
        file.write_text(json.dumps(measured_ways(net, devtest, folder), indent=1))
    return [
        StaticNet(
            name=f"always {', '.join(way['blocks']) or 'no block'}",
            macs=way["macs"],
            accuracy=Share(way["right"], way["of"]),
            ms=sum(ms for name, ms in stage_ms.items() if name in (*STARTS, *way["blocks"])),
        )
        for way in json.loads(file.read_text())
    ]


def measured_ways(net: SkipNet, devtest: ImageSet, folder: Path) -> list[dict[str, Any]]:
    """`blocks`, `macs`, `right` and `of` of each of the best fixed ways."""
    data = training_set().take(parts().router[:CHOOSING])
    stages = skip_stages(net, "gate")
    export.write_stages(stages, torch.from_numpy(data.images[:2]), folder)
    title = package.Title("fixed", "1.0.0", "image", "classification", "skip-gate", "skip-gate", "Fixed ways.")
    draft = drafted(folder, title, entries(stages, folder), data.classes)
    sessions, ways = Stages.of(draft.manifest, folder), fixed.possible(draft.graph)
    walks = fixed.walk_all(sessions, ways, data.images)
    sure = np.take_along_axis(walks.answers, data.labels.astype(np.int64)[None, :, None], axis=2).mean(axis=(1, 2))
    chosen = np.array(fixed.best(walks.macs[:, 0], sure))
    ways = ways[chosen[np.unique(np.linspace(0, len(chosen) - 1, BEST_FIXED).round().astype(int))]]
    walks = fixed.walk_all(sessions, ways, devtest.images)
    optional = {place for place, name in enumerate(draft.graph.names) if name not in STARTS}
    return [
        {
            "blocks": [draft.graph.names[stage] for stage in np.flatnonzero(way) if stage in optional],
            "macs": int(walks.macs[place, 0]),
            "right": int((walks.predictions[place] == devtest.labels).sum()),
            "of": len(devtest),
        }
        for place, way in enumerate(ways)
    ]
