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
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from models import card, dense_card
from models.calibration.refining import Arrays, Graphs, Sample, Views, route
from models.card import Text
from models.data import camvid
from models.data.camvid import VOID, Frames
from models.dense_card import DenseFindings, Metric, Static
from models.nets.refine import Grid, refined
from models.nets.refine_points import EACH, HEIGHT, ROWS, WIDTH, packed, seen_at, told_at
from models.plots import save
from models.recipes.camvid_walks import LEVELS, ZOO, FrameViews, gains, graphs_in, splits, walk
from service.package.load import Package, load
from service.routing.refine import Refine

SHARES = (0.1, 0.2, 0.4, 0.6, 0.8)
"""Of the tiles, refined in the same places of every frame: a baseline."""
POINT_ROWS = (0, 8, 16, 32, 64, HEIGHT * WIDTH // EACH)
"""Rows of points refined in every frame, the last of them all there are."""
_BATCH, _ROUNDS = 32, 9
_NOTHING = 0.05
"""Points of mIoU that aren't worth a word."""

INTRO = """A frame is segmented coarsely from half its size; then tiles of 40 x 48 pixels of the frame itself are
refined where a table, made on other frames, says that this is worth its compute: 90 tiles a frame, picked by their
doubt (1 - mean probability), batched with those of other requests. Last come points of the map that this gives, up to
4096 of 43200, picked by the margin between their two likeliest classes: a small perceptron sees each with what the map
says around it and the frame's own pixels (PointRend, CVPR 2020). 64 points are one row of a ragged stage: a row of one
point would cost more to copy than to compute. Families P2 (refinement of what is uncertain), P1 (pixel-level compute,
by tiles and by points) and P3 (kernels predicted per position) of the survey of dynamic networks."""
LIMITS = """- One camera, one town, one car: scenes unlike CamVid's get confident nonsense.
- Frames of any size are read; other aspects than 4:3 are cut at the centre.
- Certificates rest on 60 frames of one drive, a second apart, so they are far from independent: read them as a rule of
  thumb. They say to which share of pixels an answer agrees with the full walk's on average.
- The router's table comes from 41 frames of the same drive.
- Answers forced by a deadline or a compute limit (fewer tiles or points than wanted) are outside the certificate.
- Weights are for research only, as CamVid is (CC BY-NC 4.0)."""


def stage_ms(graphs: Graphs, views: Views) -> dict[str, float]:
    """Median ms of one row of each stage, one thread; parts in batches."""
    sample, picks, runs = Sample(graphs, views, 0), list[NDArray[np.int64]](), [(graphs.first, views.first(0), 1)]
    for level in graphs.levels:
        state = sample.after(*picks)
        some = np.arange(min(_BATCH, state[level.told[0]].shape[1]))
        part = {name: state[name][0, some] for name in level.told}
        part |= {} if level.places is None else views.parts(0, state[level.places][0, some])
        picks.append(np.arange(state[level.told[0]].shape[1]))
        runs += [(level.part, part, len(some)), (level.paste, sample.after(*picks), 1)]
    taken: dict[str, list[float]] = {name: [] for name, _, _ in runs}
    for _ in range(_ROUNDS):
        for name, state, rows in runs:
            start = perf_counter()
            graphs.run(name, state)
            taken[name].append((perf_counter() - start) / rows * 1e3)
    return {name: round(median(times), 3) for name, times in taken.items()}


def empty() -> NDArray[np.int64]:
    """A confusion table of nothing."""
    return np.zeros((VOID, VOID), np.int64)


def miou(table: NDArray[np.int64]) -> float:
    """In %."""
    return float(camvid.intersections(table).mean()) * 100


class Beside:
    """What is measured of each frame of devtest beside its walks by price: other ways to spend the compute.

    Attributes:
        fixed: confusion tables if the same tiles are refined in every frame, for each of `SHARES`.
        points: the same if so many rows of points are, after all tiles, for each of `POINT_ROWS`.
        tiles: by price, if the walk ends before the points.
        counts: by price, the tiles of those walks; one more for each frame.
    """

    def __init__(self, package: Package, masks: NDArray[np.uint8], order: NDArray[np.int64]) -> None:
        """`order` has the tiles, those first that gain most on average."""
        self._router, self._masks, self._order, self._prices = Refine(package), masks, order, package.record.prices
        self._graphs, self._upper = graphs_in(ZOO), Graphs(ZOO, "coarse", LEVELS[:1])
        self.fixed, self.points = [empty() for _ in SHARES], [empty() for _ in POINT_ROWS]
        self.tiles, self.counts = [empty() for _ in self._prices], [list[int]() for _ in self._prices]

    def __call__(self, sample: Sample, number: int) -> None:
        """One frame more."""
        mask, everything = self._masks[number], np.arange(Grid().tiles)
        for table, share in zip(self.fixed, SHARES, strict=True):
            table += camvid.confusion(_classes(sample.after(self._order[: round(share * len(everything))])), mask)
        for table, count in zip(self.points, POINT_ROWS, strict=True):
            if count > ROWS:
                table += camvid.confusion(everywhere(self._graphs, sample.after(everything)), mask)
            else:
                picks = (everything, np.arange(count)) if count else (everything,)
                table += camvid.confusion(_classes(sample.after(*picks)), mask)
        for place, table in enumerate(self.tiles):
            some = route(self._router, self._upper, sample, self._prices[place : place + 1])
            table += camvid.confusion(_classes(sample.after(*some)), mask)
            self.counts[place].append(len(some[0]) if some else 0)


def _classes(state: Arrays) -> NDArray[np.int64]:
    return np.asarray(state["answer"][0, 0], np.int64)


def everywhere(graphs: Graphs, state: Arrays) -> NDArray[np.int64]:
    """Classes [360, 480] of an input whose tiles are refined, every point of its map refined as well."""
    logits = refined(torch.from_numpy(state["cells"]), Grid().joined(torch.from_numpy(state["change"])))
    spots = torch.arange(HEIGHT * WIDTH)[None]
    around = told_at(logits, spots).unflatten(1, (-1, EACH))[0]
    seen = packed(seen_at(torch.from_numpy(state["frame"]), spots)).unflatten(1, (-1, EACH))[0]
    dots = graphs.run("point", {"around": around.numpy(), "seen": seen.numpy()})["dots"]
    classes = dots[..., :4].reshape(HEIGHT, WIDTH, 2, 2).astype(np.int64)
    return np.asarray(classes.transpose(0, 2, 1, 3).reshape(2 * HEIGHT, 2 * WIDTH))


def worse(found: DenseFindings, ended: Sequence[Static]) -> str:
    """Up to which compute walks that end before the points are better, if there is any."""
    order = np.argsort(found.macs, kind="stable")
    ours = np.interp([one.macs for one in ended], found.macs[order], np.array(found.metrics[0].values)[order])
    lost = np.array([one.metric for one in ended]) - ours
    if lost.max() < _NOTHING:
        return ""
    least = max(one.macs for one, less in zip(ended, lost, strict=True) if less >= _NOTHING)
    return (
        f"\n\nWhere little compute may be spent, up to {least / 1e6:.0f} MMACs, walks by the same prices that end "
        f"before the points are better, by up to {lost.max():.1f} points of mIoU.\nThe frames of the router, one easy "
        "drive, say that points gain more by MAC than tiles do, and so the price lets tiles go first; on devtest it "
        "is the other way round."
    )


def point_section(beside: Beside, macs: Sequence[int]) -> str:
    """What the doubtful points gain after all tiles, and what all points of the map would."""
    all_tiles = macs[0] + Grid().tiles * macs[1] + macs[2]
    rows = [
        [
            f"{count * EACH}",
            f"{count * EACH / (HEIGHT * WIDTH):.1%}",
            f"{count * macs[3] / 1e6:.0f}",
            f"{(all_tiles + count * macs[3]) / 1e6:.0f}",
            f"{miou(table):.2f}",
            f"{np.trace(table) / table.sum() * 100:.2f}",
        ]
        for count, table in zip(POINT_ROWS, beside.points, strict=True)
    ]
    head = ["points refined", "of the map", "MMACs for them", "MMACs in all", "mIoU %", "pixels right %"]
    return (
        "## Only the doubtful points\n"
        + card.table(head, rows)
        + "\n\nAfter all tiles, in every frame the same number of points, the most doubtful first. A point is a pixel "
        "of the map at half size, given as its four\npixels of the frame. The last row runs the same net at every "
        f"point of the map, which the server never does: it stops at {ROWS * EACH} points."
    )


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
    sample = Sample(graphs, views, row)
    picks = route(Refine(found.package), graphs, sample, found.prices[[found.told]])
    answer = sample.after(*picks)["answer"][0, 0]
    chosen = picks[0] if picks else np.zeros(0, np.int64)
    dots = sample.after(picks[0])["places_points"][0, picks[1]] if len(picks) > 1 else np.zeros((0, 2))
    figure = Figure(figsize=(9, 2.6), layout="constrained")
    for axes, name, picture in zip(
        figure.subplots(1, 3),
        ("frame, tiles and points refined", "truth", "answer"),
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
            down, right = dots.reshape(-1, 2).T
            axes.plot(right * camvid.WIDTH, down * camvid.HEIGHT, "c,")
    save(figure, ZOO / "failing_case.png", dpi=65)
    few_colours(ZOO / "failing_case.png")
    shares = [f"{found.walks.quality[place, row]:.1%}" for place in (0, found.told)]
    return (
        f"Frame {row} of devtest loses most at the price {found.prices[found.told]:.3g}: {shares[1]} of its pixels "
        f"are right, {shares[0]} if "
        f"everything is refined; {len(chosen)} of {Grid().tiles} tiles and {dots.size // 2} points were."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.recipes.camvid_card")
    parser.add_argument("--work", type=Path, required=True)
    args = parser.parse_args(arguments)
    package, devtest, graphs = load(ZOO), camvid.load("devtest"), graphs_in(ZOO)
    prices, default = package.record.prices, default_price(package)
    _, gained = gains(graphs, splits()[0])
    order = np.argsort(-gained.reshape(-1, Grid().tiles).mean(axis=0), kind="stable")
    beside = Beside(package, devtest.masks, order)
    walks = walk(package, devtest, prices, beside)
    ms, ablation = (
        stage_ms(graphs, FrameViews(devtest)),
        json.loads((args.work / "ablation.json").read_text()),
    )
    metrics = [
        Metric("mIoU", [miou(table) for table in walks.tallies]),
        Metric("pixels right", (walks.quality.mean(axis=1) * 100).tolist()),
    ]
    found = DenseFindings(package, prices, walks, metrics, ms, default, {}, "tile", ("points",))
    first, part, *_ = package.graph.macs
    tiles, some = [share * Grid().tiles for share in SHARES], dense_card.spread(found)[:-1:2]
    fixed = [
        Static(f"{share:.0%} of the tiles", first + count * part, found.ms_of(count), miou(table))
        for share, count, table in zip(SHARES, tiles, beside.fixed, strict=True)
    ]
    ended = [
        Static(f"{count / Grid().tiles:.0%} of the tiles", first + count * part, found.ms_of(count), miou(table))
        for count, table in zip(np.mean(beside.counts, axis=1).tolist(), beside.tiles, strict=True)
    ]
    smaller = [Static(way, one["macs"], None, one["miou"] * 100) for way, one in ablation.items() if way != "carafe"]
    found.statics["by price, but tiles only"] = [ended[place] for place in some]
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
    more = [
        point_section(beside, package.graph.macs) + worse(found, ended),
        ablation_section(ablation),
        class_section(walks.tallies[0], walks.tallies[-1], package.labels),
    ]
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
