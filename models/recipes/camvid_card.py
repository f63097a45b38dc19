"""The card of camvid-refine: what was measured on devtest, and in words what it is.

env OFFRAMP_DATA=DATA OMP_NUM_THREADS=1 python -m models.recipes.camvid_card --work DIR
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from models import card, dense_card
from models.calibration.refining import Graphs, Sample, Views
from models.card import Text
from models.data import camvid
from models.data.camvid import VOID, Frames
from models.dense_card import DenseFindings, Metric, Static
from models.nets.refine import Grid
from models.plots import save
from models.recipes.camvid_refine import ROWS, ZOO, FrameViews, gains, splits, walk
from service.package.load import Package, load
from service.routing.refine import Refine

SHARES = (0.1, 0.2, 0.4, 0.6, 0.8)
"""Of the tiles, refined in the same places of every frame: a baseline."""
_BATCH, _ROUNDS = 32, 9

INTRO = """A frame is segmented coarsely from half its size; then tiles of 40 x 48 pixels of the frame itself are
refined where a table, made on other frames, says that this is worth its compute: 90 tiles a frame, picked by their
doubt (1 - mean probability), batched with those of other requests. Families P2 (refinement of what is uncertain), P1
(pixel-level compute, by tiles) and P3 (kernels predicted per position) of the survey of dynamic networks."""
LIMITS = """- One camera, one town, one car: scenes unlike CamVid's get confident nonsense.
- Frames of any size are read; other aspects than 4:3 are cut at the centre.
- Certificates rest on 60 frames of one drive, a second apart, so they are far from independent: read them as a rule of
  thumb. They say to which share of pixels an answer agrees with the full walk's on average.
- The router's table comes from 41 frames of the same drive.
- Answers forced by a deadline or a compute limit (fewer tiles than wanted) are outside the certificate.
- Weights are for research only, as CamVid is (CC BY-NC 4.0)."""


def stage_ms(graphs: Graphs, views: Views, names: Sequence[str]) -> dict[str, float]:
    """Median ms of one row of each stage, one thread; parts in batches."""
    sample = Sample.of(graphs, names, views, 0)
    places = sample.first["places"][0][:_BATCH]
    part = views.parts(0, places) | {"told": sample.first["told"][0][: len(places)]}
    states = (views.first(0), 1), (part, len(places)), (sample.first | {graphs.rows: sample.rows[None]}, 1)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(_ROUNDS):
        for name, (state, rows) in zip(names, states, strict=True):
            start = perf_counter()
            graphs.run(name, state)
            taken[name].append((perf_counter() - start) / rows * 1e3)
    return {name: round(median(times), 3) for name, times in taken.items()}


def fixed_places(graphs: Graphs, devtest: Frames, order: NDArray[np.int64]) -> list[float]:
    """mIoU in % if the same tiles are refined in every frame, the first of `order`, for each of `SHARES`."""
    views, tables = FrameViews(devtest), [np.zeros((VOID, VOID), np.int64) for _ in SHARES]
    for row, mask in enumerate(devtest.masks):
        sample = Sample.of(graphs, ("coarse", "tile"), views, row)
        for place, share in enumerate(SHARES):
            answer = sample.pasted(graphs, "paste", order[: round(share * len(order))])["answer"][0, 0]
            tables[place] += camvid.confusion(answer, mask)
    return [float(camvid.intersections(table).mean()) * 100 for table in tables]


def ablation_section(found: dict[str, Any]) -> str:
    """What predicted kernels gain over the plain ways, and by class."""
    rows = [
        [way, f"{one['macs'] / 1e6:.0f}", f"{one['miou'] * 100:.2f}", f"{one['pixels'] * 100:.2f}"]
        for way, one in found.items()
    ]
    gain = (found["carafe"]["miou"] - found["bilinear"]["miou"]) * 100
    return (
        "## Kernels predicted per position\n"
        + card.table(["upsampling in the coarse net", "MMACs", "mIoU %", "pixels right %"], rows)
        + f"\n\nThe rest of the net, the data and the training (12 epochs, one seed) are the same: {gain:+.2f} points "
        "of mIoU against bilinear.\nOne run each: differences below a point are within what another seed would move."
    )


def class_section(table: NDArray[np.int64], coarse: NDArray[np.int64], names: Sequence[str]) -> str:
    """Intersection over union of each class, full walk and first exit."""
    full, first = camvid.intersections(table) * 100, camvid.intersections(coarse) * 100
    rows = [[name, f"{full[place]:.1f}", f"{first[place]:.1f}"] for place, name in enumerate(names)]
    return "## By class\n" + card.table(["class", "IoU % full", "IoU % first exit"], rows)


def failing(found: DenseFindings, graphs: Graphs, devtest: Frames) -> str:
    """Draw the frame that loses most against the full walk at the price told of, with its tiles; say so."""
    lost = found.walks.quality[0] - found.walks.quality[found.told]
    row = int(lost.argmax())
    views, mask = FrameViews(devtest), devtest.masks[row]
    sample = Sample.of(graphs, ("coarse", "tile"), views, row)
    routing = Refine(found.package).route(0, sample.first, found.prices[[found.told]])
    picks = routing.picks[0] if routing.picks is not None else None
    chosen = np.zeros(0, np.int64) if picks is None else picks
    answer = sample.pasted(graphs, "paste", chosen)["answer"][0, 0]
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for axes, name, picture in zip(
        figure.subplots(1, 3),
        ("frame and the tiles refined", "truth", "answer"),
        (devtest.images[row], np.where(mask == VOID, np.nan, mask), answer),
        strict=True,
    ):
        axes.imshow(picture, **({} if picture.ndim == 3 else {"cmap": "tab20", "vmin": 0, "vmax": VOID}))
        axes.set_title(name, fontsize=8)
        axes.set_axis_off()
        if name.startswith("frame"):
            for top, left, bottom, right in sample.first["places"][0][chosen].tolist():
                xs, ys = [left, right, right, left, left], [top, top, bottom, bottom, top]
                axes.plot([x * camvid.WIDTH for x in xs], [y * camvid.HEIGHT for y in ys], "y-", lw=0.7)
    save(figure, ZOO / "failing_case.png", dpi=65)
    few_colours(ZOO / "failing_case.png")
    shares = [f"{found.walks.quality[place, row]:.1%}" for place in (0, found.told)]
    return (
        f"Frame {row} of devtest loses most at the price {found.prices[found.told]:.3g}: {shares[1]} of its pixels "
        f"are right, {shares[0]} if "
        f"all tiles are refined; {len(chosen)} of {Grid().tiles} were."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.camvid_card")
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args(arguments)
    package, devtest, graphs = load(ZOO), camvid.load("devtest"), Graphs(ZOO, ROWS)
    prices, default = package.record.prices, default_price(package)
    walks = walk(package, devtest, prices)
    ms, ablation = (
        stage_ms(graphs, FrameViews(devtest), package.graph.names),
        json.loads((args.work / "ablation.json").read_text()),
    )
    _, gained = gains(graphs, splits()[0])
    order = np.argsort(-gained.reshape(-1, Grid().tiles).mean(axis=0), kind="stable")
    metrics = [
        Metric("mIoU", [float(camvid.intersections(table).mean()) * 100 for table in walks.tallies]),
        Metric("pixels right", (walks.quality.mean(axis=1) * 100).tolist()),
    ]
    found = DenseFindings(package, prices, walks, metrics, ms, default, {}, "tile")
    first, part, _ = package.graph.macs
    tiles = [share * Grid().tiles for share in SHARES]
    fixed = [
        Static(f"{share:.0%} of the tiles", first + count * part, found.ms_of(count), miou)
        for share, count, miou in zip(SHARES, tiles, fixed_places(graphs, devtest, order), strict=True)
    ]
    smaller = [Static(way, one["macs"], None, one["miou"] * 100) for way, one in ablation.items() if way != "carafe"]
    found.statics.update({"same tiles in every frame": fixed, "coarse net only, plain upsampling": smaller})
    provenance = package.manifest.provenance
    text = Text(
        title="camvid-refine",
        intro=INTRO,
        data=f"{camvid.SOURCE}. {provenance['splits']}.",
        training=(
            f"The trunk is EfficientNet-Lite0's first eleven blocks, pretrained on ImageNet, frozen. Trained: "
            f"{provenance['epochs']} epochs on its features of two views of each frame; minutes of one shared core: "
            f"{provenance['train_minutes']}. `python -m models.recipes.camvid_refine` makes the package again, "
            f"`python -m models.recipes.camvid_card` this page. Parity with torch: {provenance['parity_max_abs']}. "
            f"Stage ms on {provenance['machine']}: {ms}."
        ),
        limits=LIMITS,
        failing=failing(found, graphs, devtest),
    )
    more = [ablation_section(ablation), class_section(walks.tallies[0], walks.tallies[-1], package.labels)]
    dense_card.write(found, text, more, ZOO)


def few_colours(file: Path) -> None:
    """A PNG again with a palette: photographs are large otherwise."""
    with Image.open(file) as picture:
        small = picture.convert("RGB").quantize(48)
    small.save(file, "PNG", optimize=True)


def default_price(package: Package) -> int:
    """Place of the price that requests without a budget are served at."""
    return int(np.searchsorted(package.record.prices, dense_card.curve_of(package).default.price))


if __name__ == "__main__":
    main()
