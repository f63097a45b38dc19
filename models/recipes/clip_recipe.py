"""What the recipes of packages that read clips share: phases, export, walks of whole splits, the manifest's entries."""

import datetime
import json
import platform
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import clip_card, export, half, package
from models.calibration.clip_views import ClipViews
from models.calibration.memo import remembering
from models.calibration.traverse import Stages, Traversal, traverse
from models.calibration.walks import menu
from models.data.clips import ClipSet, Part
from models.export import GraphStage
from models.nets import clip_ports
from models.recipes import command
from models.recipes.command import Folder
from service.package.load import Package, load
from service.routing.base import build
from service.routing.early_exit import worth

SEED = 11
ROUNDS = 60
"""Runs of a stage to time it."""
Arrays = dict[str, NDArray[Any]]
Data = TypeVar("Data")
"""The clips that a recipe fits on, and what frozen networks made of them."""


@dataclass(frozen=True)
class Trained:
    """Stages to export, in walking order, and what held-out clips said along their walks, for the tables."""

    stages: Sequence[GraphStage]
    told: Arrays


@dataclass(frozen=True)
class ClipRecipe(Generic[Data]):
    """One package."""

    module: str
    title: package.Title
    words: str
    loses: str

    clips: ClassVar[ClipSet]
    features: ClassVar[str]
    """Default folder of what frozen networks made of the clips; recipes of one set share it."""
    origin: ClassVar[Mapping[str, str]]
    """`data`, `splits` and `backbone` in the manifest's provenance."""

    @abstractmethod
    def fitting(self, cache: Path) -> Data:
        """What everything is fitted on."""

    @abstractmethod
    def fitted_labels(self, data: Data) -> NDArray[np.int64]:
        """Labels of the fitting clips, int64 [n]."""

    @abstractmethod
    def calibration_rows(self) -> NDArray[np.int64]:
        """Places of the calibration clips in the train part."""

    @abstractmethod
    def baselines(self, work: Path, cache: Path, folder: Path) -> list[dict[str, Any]]:
        """Static networks on devtest, as `clip_card.find` takes them."""

    @abstractmethod
    def said(self, work: Path) -> Mapping[str, str]:
        """The card's words on `data`, `certified`, `limits` and `uniform` (the baselines); `further` if there is more
        to tell of what was read."""

    @abstractmethod
    def trained(self, data: Data) -> Trained:
        """Train everything but the backbone."""

    @abstractmethod
    def tables(self, told: Arrays, labels: NDArray[np.int64], macs: Mapping[str, int]) -> Arrays:
        """The router's tables."""

    @abstractmethod
    def entries(self, folder: Path, stages: Mapping[str, GraphStage]) -> list[dict[str, Any]]:
        """The stages' entries in the manifest."""

    def train(self, work: Path, cache: Path, _: Path) -> None:
        """Train; the time is that of everything but the features."""
        data, start = self.fitting(cache), time.process_time()
        made = self.trained(data)
        for stage in made.stages:
            half.round_weights(stage)
        torch.save({"stages": list(made.stages), "told": made.told}, work / "trained.pt")
        minutes = (time.process_time() - start) / 60
        (work / "trained.json").write_text(json.dumps({"cpu_minutes": round(minutes, 2)}))

    def export(self, work: Path, cache: Path, folder: Path) -> None:
        """Write the graphs, and prove each equal to its stage."""
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("*.onnx"):
            stale.unlink()
        classes = len(self.clips.load("devtest").classes)
        worst = {stage.name: _written(stage, folder, classes) for stage in made(work)["stages"]}
        export.require_parity(worst)
        (work / "parity.json").write_text(json.dumps(worst, indent=1))

    def calibrate(self, work: Path, cache: Path, folder: Path) -> None:
        """Fit the router's tables, record the calibration split, write the manifest; walk devtest."""
        data, saved = self.fitting(cache), made(work)
        stages = {stage.name: stage for stage in saved["stages"]}
        train = self.clips.load("train")
        entries, rows = self.entries(folder, stages), self.calibration_rows()
        macs = {entry["name"]: int(entry["macs_per_row"]) for entry in entries}
        tables = self.tables(saved["told"], self.fitted_labels(data), macs)
        prices = price_path(tables)
        drafted = package.draft(folder, self.title, entries, train.classes, tables)
        record = walked(drafted, self.clips, "train", rows, prices, cache).record(prices, train.labels[rows])
        found = package.write(folder, self.title, entries, train.classes, tables | record, self.provenance(work))
        test = walked(found, self.clips, "devtest", None, found.record.prices, cache)
        np.savez(work / "devtest.npz", allow_pickle=False, **asdict(test))

    def provenance(self, work: Path) -> dict[str, Any]:
        """How the package came to be, for its manifest."""
        worst = json.loads((work / "parity.json").read_text())
        return {
            "recipe": self.module,
            "seed": SEED,
            **self.origin,
            "train_cpu_minutes": json.loads((work / "trained.json").read_text())["cpu_minutes"],
            "machine": f"{platform.machine()}, torch {torch.__version__}",
            "parity_max_abs": {name: float(f"{difference:.1e}") for name, difference in worst.items()},
            "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }

    def time(self, work: Path, _: Path, folder: Path) -> None:
        """Time the stages; in a quiet minute."""
        classes = len((folder / package.LABELS).read_text().split())
        measured = {stage.name: _stage_ms(stage, folder, classes) for stage in made(work)["stages"]}
        (work / "stage_ms.json").write_text(json.dumps({"stage_ms": measured}, indent=1))

    def card(self, work: Path, cache: Path, folder: Path) -> None:
        """Write the model card and its pictures from what devtest said."""
        with np.load(work / "devtest.npz") as saved:
            walks = Traversal(**saved)
        found, devtest = load(folder), self.clips.load("devtest")
        ms = json.loads((work / "stage_ms.json").read_text())["stage_ms"]
        static = self.baselines(work, cache, folder)
        findings = clip_card.find(found, walks, devtest.labels, devtest.scenes, ms, static)
        (work / "summary.json").write_text(json.dumps(clip_card.summary(findings), indent=1))
        clip_card.write(findings, self.text(found, work), folder)

    def text(self, found: Package, work: Path) -> dict[str, str]:
        """The card's words."""
        origin, said = found.manifest.provenance, dict(self.said(work))
        data = (
            f"{said.pop('data')}\n`python -m {self.module}` makes everything again (seed {origin['seed']}): "
            f"{origin['train_cpu_minutes']} minutes of one core beside the features, {origin['machine']}. Largest "
            f"difference between a graph and its stage: {max(origin['parity_max_abs'].values()):.1e}."
        )
        return {
            "title": self.title.name,
            "words": f"{self.title.description}\n\n{self.words}",
            "default": f"the highest price certified for agreement >= {found.manifest.default_agreement:g}",
            "loses": self.loses,
            "training": data,
            **said,
        }

    def main(self, arguments: Sequence[str] | None = None) -> None:
        """Command line."""
        phases = {
            "train": self.train,
            "export": self.export,
            "calibrate": self.calibrate,
            "time": self.time,
            "card": self.card,
        }
        shared = "features; recipes of one data set share them"
        folders = (
            Folder("work", Path(f"build/{self.title.name}"), "parts and walks"),
            Folder("cache", Path(self.features), shared),
            Folder("package", Path(f"models/zoo/{self.title.name}")),
        )
        command.run(self.module, phases, folders, arguments)


def entry(
    folder: Path,
    stage: GraphStage,
    after: Sequence[str],
    *,
    at: float | None = None,
    exit_name: str | None = None,
    rows: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """Manifest entry of a stage.

    Args:
        folder: where its graph is.
        stage: itself.
        after: stages that may follow.
        at: the moment that its pictures show unless the router says.
        exit_name: None without an exit.
        rows: of a ragged stage, its output and the state of many rows that this is kept in.
    """
    roles = clip_ports.roles(stage.ports) | ({rows[0]: {"rows": rows[1]}} if rows else {})
    return package.stage_entry(
        folder / f"{stage.name}.onnx",
        after,
        clip_ports.glimpses(stage.ports, at),
        exit_name=exit_name,
        roles=roles,
        ragged=clip_ports.MOMENTS if rows else None,
    )


def price_path(tables: Arrays) -> NDArray[np.float64]:
    """Prices at which some walk changes, as a record has them."""
    turning = [tables["knob_prices"].ravel()] if "knob_prices" in tables else []
    if "gain" in tables:
        turning.append(worth(tables["gain"], tables["exit_macs"]).ravel())
    every = np.concatenate(turning)
    every = every[np.isfinite(every)]
    # Where knobs turn below 0, walks there skip more than the full one but stop nowhere.
    return menu(every, least=min(0.0, every.min() - 1.0))


def walked(
    found: Package,
    clips: ClipSet,
    part: Part,
    rows: NDArray[np.int64] | None,
    prices: NDArray[np.float64],
    cache: Path,
) -> Traversal:
    """Walks of clips by the package's own router, over frames as the server decodes them."""
    views = ClipViews(found.manifest, cache, clips, part, rows)
    stages = Stages.of(found.manifest, found.path)
    with remembering(stages, ("see",), found.path, cache) as remembered:
        return traverse(remembered, build(found), views, prices)


def _written(stage: GraphStage, folder: Path, classes: int) -> float:
    """Write one graph; the largest difference between it and the stage, at batches of 1, 2 and 7."""
    file = folder / f"{stage.name}.onnx"
    export.write_stage(stage.eval(), _examples(stage, 2, classes), file)
    onnx.save(half.store_half(onnx.load(file)), file)
    graph, worst = export.session(file), 0.0
    with torch.no_grad():
        for rows in export.BATCHES:
            given = _examples(stage, rows, classes)
            meant = stage(*given)
            meant = meant if isinstance(meant, tuple) else (meant,)
            told = export.run(graph, {name: each.numpy() for name, each in zip(stage.ports.inputs, given, strict=True)})
            for name, each in zip(stage.ports.outputs, meant, strict=True):
                worst = float(np.maximum(worst, np.abs(told[name] - each.numpy()).max()))
    return worst


def _examples(stage: GraphStage, rows: int, classes: int) -> tuple[Tensor, ...]:
    return tuple(clip_ports.example(name, rows, classes) for name in stage.ports.inputs)


def _stage_ms(stage: GraphStage, folder: Path, classes: int) -> float:
    """Milliseconds of one row on one thread: of many runs the fastest tenth, since other work shares the machine."""
    graph = export.session(folder / f"{stage.name}.onnx")
    given = {name: clip_ports.example(name, 1, classes).numpy() for name in stage.ports.inputs}
    taken = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        export.run(graph, given)
        taken.append(time.perf_counter() - start)
    return float(np.quantile(taken, 0.1) * 1e3)


def made(work: Path) -> dict[str, Any]:
    """What `train` left: `stages` and `told`; a file of ours, so its classes may be loaded."""
    saved: dict[str, Any] = torch.load(work / "trained.pt", weights_only=False)
    return saved
