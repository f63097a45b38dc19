"""What recipes of packages grown on the first stage of cifar10-early-exit share: all but net, router and words."""

import json
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models import export, package
from models.calibration import fixed
from models.calibration.traverse import Stages
from models.data import cifar10
from models.export import GraphStage
from models.findings import Share, StaticNet
from models.nets.pretrained import EARLY_EXIT
from models.recipes.cifar10_early_exit import GLIMPSES, parts, training_set
from models.recipes.routed import Entries, Routed, walked, written
from models.route_findings import RouteFindings
from models.training.augmentation import Augmentation
from models.training.features import View, views
from models.training.loop import Trainer
from service.package.load import Package

AUGMENTATION = Augmentation(shift=4, cutout=8)
"""That of the first stage's own training."""
Arrays = dict[str, NDArray[Any]]
Answers = Mapping[tuple[str, ...], torch.Tensor]
"""Logits [b, classes] by the stages of the way that leads to them."""

GROWN = """The first stage, with its exit, is that of cifar10-early-exit 1.0.0 as it is; it saw the same training split
for 38 epochs. What is new was trained on what that stage makes of the images, computed once for augmented views (shift
4, 8 px cutout) that are met again every epoch: so no step runs the first stage."""
LIMITS = """- Ten classes; anything else gets one of them, at times with a high score.
- Certificates hold on average for images like the calibration split: sharper, larger or differently compressed photos
  shrunk to 32x32 aren't like them.
- Walks forced by a deadline or a compute limit are outside the certificate.
- One training run, one seed: intervals are those of the test sample, not of training. They are 95 % Wilson intervals,
  each for itself.
- Trained for minutes, not for hours (`epochs` in the recipe)."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Routed):
    """One package. `after` names the stages that may follow each, in walking order of the keys."""

    after: Mapping[str, Sequence[str]]
    halved: bool = False
    """Large weights are kept as float16, and `trained` rounds them."""

    @abstractmethod
    def trainers(self, work: Path, seen: Path) -> Mapping[str, Trainer[Any]]:
        """By name; the first is the network that is shipped."""

    @abstractmethod
    def graphs(self, net: Any, seen: Path) -> list[GraphStage]:
        """The stages to export, norms folded, in walking order; what is trained after the network is trained here."""

    @abstractmethod
    def answers(self, net: Any, image: torch.Tensor) -> Answers:
        """What the network, not folded, answers at the end of each way."""

    @abstractmethod
    def fitted(self, folder: Path, entries: Entries) -> tuple[Arrays, NDArray[np.float64]]:
        """The router's tables, from the router split through the graphs in `folder`; the prices of the path."""

    def told(self, work: Path, found: Package, findings: RouteFindings) -> str:
        """More paragraphs of the card's training section."""
        return ""

    def fixed_ways(self, work: Path, seen: Path, found: Package, stage_ms: Mapping[str, float]) -> list[StaticNet]:
        """See `Routed.fixed_ways`: all that there are."""
        devtest, sessions = cifar10.load("devtest"), Stages.of(found.manifest, found.path)
        ways = fixed.possible(found.graph)
        walks = fixed.walk_all(sessions, ways, devtest.images)
        return [
            way_found(found, way, walks.predictions[place] == devtest.labels, stage_ms)
            for place, way in enumerate(ways)
        ]

    def text(self, work: Path, found: Package, findings: RouteFindings, facts: str) -> tuple[str, str]:
        """See `Routed.text`."""
        return "\n".join(part for part in (GROWN, facts, self.told(work, found, findings)) if part), LIMITS

    def train(self, work: Path, seen: Path, folder: Path) -> None:
        """See `Routed.train`."""
        for trainer in self.trainers(work, seen).values():
            trainer.run()

    def done(self, work: Path, seen: Path) -> Trainer[Any]:
        """See `Routed.done`."""
        return next(iter(self.trainers(work, seen).values()))

    def export(self, work: Path, seen: Path, folder: Path) -> None:
        """Write the graphs, and prove them equal to the network, each alone and along every way."""
        images, net = training_set().images[parts().router], self.trained(work, seen)
        stages = self.graphs(net, seen)
        folder.mkdir(parents=True, exist_ok=True)
        files = written(stages, images, folder, halved=self.halved)
        worst = export.stage_parity(stages, files, images)
        worst["walk"] = self.walk_parity(net, folder, images)
        export.require_parity(worst)
        self.own(work, "parity.json").write_text(json.dumps(worst, indent=1))

    @torch.no_grad()
    def walk_parity(self, net: Any, folder: Path, images: NDArray[np.uint8]) -> float:
        """Largest difference of the logits at the end of each way, between the graphs' and the network's own."""
        sessions = {name: export.session(folder / f"{name}.onnx") for name in self.after}
        worst = 0.0
        for rows in export.BATCHES:
            for way, expected in self.answers(net, torch.from_numpy(images[:rows])).items():
                state: Arrays = {"image": images[:rows]}
                for name in way:
                    state |= export.run(sessions[name], state)
                worst = float(np.maximum(worst, np.abs(state["logits"] - expected.numpy()).max()))
        return worst

    def entries(self, work: Path, seen: Path, folder: Path) -> Entries:
        """See `Routed.entries`; every stage has an exit."""
        return [
            package.stage_entry(folder / f"{name}.onnx", after, GLIMPSES, exit_name=f"exit-{name}")
            for name, after in self.after.items()
        ]

    def write(self, folder: Path, entries: Entries, provenance: Mapping[str, Any]) -> None:
        """See `Routed.write`."""
        data = training_set()
        tables, prices = self.fitted(folder, entries)
        split = data.take(parts().calibration)
        drafted = package.draft(folder, self.title, entries, data.classes, tables)
        record = walked(drafted, split.images, prices).record(prices, split.labels)
        arrays = tables | record | {"router_index": parts().router, "calibration_index": parts().calibration}
        package.write(folder, self.title, entries, data.classes, arrays, provenance)


def first_stage_views(folder: Path, count: int) -> list[View]:
    """The shipped first stage's states for augmented training images, kept in `folder`: several recipes share them."""
    images = training_set().images[parts().train]
    return views(EARLY_EXIT / "block1.onnx", images, AUGMENTATION, folder, count=count)


def way_found(
    found: Package, way: NDArray[np.bool_], right: NDArray[np.bool_], stage_ms: Mapping[str, float]
) -> StaticNet:
    """A way forced for every image as a net of one cost: `way` bool [S], `right` bool [n]."""
    places = np.flatnonzero(way).tolist()
    return StaticNet(
        name=f"always {', '.join(found.graph.names[place] for place in places[1:]) or 'the first stage alone'}",
        macs=sum(found.graph.macs[place] for place in places),
        accuracy=Share(int(right.sum()), len(right)),
        ms=sum(stage_ms[found.graph.names[place]] for place in places),
    )
