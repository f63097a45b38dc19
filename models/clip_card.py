"""The model card of a package that reads clips: by price, against uniform sampling, and how many frames were read.

Clips of one scene aren't independent, so intervals draw whole scenes again (models/calibration/grouped.py).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.calibration.grouped import Interval, bootstrap
from models.calibration.scores import expected_calibration_error
from models.calibration.traverse import Traversal
from models.card import table
from models.findings import default_place
from models.plots import save
from service.package.load import Package

BACKBONE, PEEK = "see", "peek"
SHOWN = 12
"""Prices in the table, if the path has as many."""


@dataclass(frozen=True)
class ClipPoint:
    """A price on the test split: means over walks; `frames` that the backbone saw, `ms` of the stages at batch 1."""

    price: float
    macs: float
    frames: float
    ms: float
    accuracy: Interval
    agreement: float
    calibration_error: float
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class Baseline:
    """A net that sees the same number of frames of every clip, evenly spread: `macs` of each, `right` bool [n]."""

    name: str
    macs: float
    accuracy: Interval
    right: NDArray[np.bool_]


@dataclass(frozen=True)
class ClipFindings:
    """All that the card shows. `default` is a place in `points`; `frames` int [P, n], seen by the backbone."""

    points: tuple[ClipPoint, ...]
    default: int
    frames: NDArray[np.int64]
    skipped: NDArray[np.int64] | None
    """int [P, n], updates that a peek skipped; None where nothing peeks."""
    other: Mapping[str, NDArray[np.float64]]
    baselines: tuple[Baseline, ...]
    scenes: NDArray[np.int64]
    lost: Mapping[str, int]
    labels: tuple[str, ...]

    def cheapest_within(self, points: float) -> ClipPoint:
        """The cheapest price whose accuracy is at most so many points below the full walk's."""
        least = self.points[0].accuracy.mean - points / 100 - 1e-9
        return min((each for each in self.points if each.accuracy.mean >= least), key=lambda each: each.macs)


def find(
    package: Package,
    walks: Traversal,
    labels: NDArray[np.integer],
    scenes: NDArray[np.int64],
    stage_ms: Mapping[str, float],
    uniform: Sequence[Mapping[str, Any]],
) -> ClipFindings:
    """Findings from walks of the test split at the prices of the package's record.

    Args:
        package: as the server reads it.
        walks: of n clips.
        labels: int [n].
        scenes: which clips belong together, int [n].
        stage_ms: milliseconds of a row of each stage, by name.
        uniform: baselines: `name`, `macs`, `right` (0 or 1 for each clip).
    """
    graph = package.graph
    kinds = np.array(graph.kinds)
    ran = walks.routes[walks.route].astype(np.int64)
    ms = ran @ np.array([stage_ms[kind] for kind in kinds])
    frames = ran[:, :, kinds == BACKBONE].sum(axis=2)
    right, scores = walks.predictions == labels, walks.answers.max(axis=2)
    points = tuple(
        ClipPoint(
            price=float(price),
            macs=float(walks.macs[place].mean()),
            frames=float(frames[place].mean()),
            ms=float(ms[place].mean()),
            accuracy=bootstrap(right[place], scenes),
            agreement=float((walks.predictions[place] == walks.predictions[0]).mean()),
            calibration_error=expected_calibration_error(scores[place], right[place]),
            right=right[place],
        )
        for place, price in enumerate(package.record.prices)
    )
    default = default_place(package)
    lost: dict[str, int] = {}
    for row in np.flatnonzero(right[0] & ~right[default]).tolist():
        pair = f"{package.labels[labels[row]]} taken for {package.labels[walks.predictions[default, row]]}"
        lost[pair] = lost.get(pair, 0) + 1
    others = sorted(set(kinds) - {BACKBONE})
    return ClipFindings(
        points=points,
        default=default,
        frames=frames,
        skipped=ran[:, :, kinds == PEEK].sum(axis=2) - frames if PEEK in kinds else None,
        other={kind: ran[:, :, kinds == kind].sum(axis=2).mean(axis=1) for kind in others},
        baselines=tuple(
            Baseline(
                str(each["name"]),
                float(each["macs"]),
                bootstrap(np.array(each["right"]), scenes),
                np.array(each["right"], bool),
            )
            for each in uniform
        ),
        scenes=scenes,
        lost=lost,
        labels=package.labels,
    )


def spread(findings: ClipFindings) -> list[ClipPoint]:
    """Full, default and cheapest, then always the point whose cost lies furthest from those chosen."""
    points = findings.points
    chosen = {0, findings.default, len(points) - 1}
    costs = np.array([point.macs for point in points])
    while len(chosen) < SHOWN:
        gaps = np.abs(costs[:, None] - costs[sorted(chosen)]).min(axis=1)
        if not gaps.max() > 0:
            break
        chosen.add(int(gaps.argmax()))
    return [points[place] for place in sorted(chosen)]


def price_table(findings: ClipFindings) -> str:
    """Prices spread over the path."""
    head = ["price per GMAC", "mean MMACs", "of full", "frames", "ms", "accuracy % (95 %)", "agreement %", "ECE %"]
    full = findings.points[0]
    rows = [
        [
            _named(findings, point),
            f"{point.macs / 1e6:.0f}",
            f"{point.macs / full.macs:.3f}",
            f"{point.frames:.2f}",
            f"{point.ms:.1f}",
            str(point.accuracy),
            f"{point.agreement * 100:.1f}",
            f"{point.calibration_error * 100:.1f}",
        ]
        for point in spread(findings)
    ]
    return table(head, rows)


def baseline_table(findings: ClipFindings) -> str:
    """Each baseline, and the walks of at most its cost beside it, clip by clip."""
    rows = []
    for each in findings.baselines:
        best, apart = beside(findings, each)
        cells = ["nothing so cheap", "", ""] if best is None else [_mmacs(best.macs), _points(best), signed(apart)]
        rows.append([each.name, _mmacs(each.macs), str(each.accuracy), *cells])
    head = ["every clip the same", "MMACs", "accuracy % (95 %)", "walks: MMACs", "accuracy %", "points apart (95 %)"]
    return table(head, rows)


def beside(findings: ClipFindings, baseline: Baseline) -> tuple[ClipPoint | None, Interval]:
    """The dearest price that costs no more than a baseline (2 % for what is around the backbone), and how far apart."""
    afford = [point for point in findings.points if point.macs <= baseline.macs * 1.02]
    if not afford:
        return None, Interval(0.0, 0.0, 0.0)
    best = max(afford, key=lambda point: point.macs)
    return best, bootstrap(best.right.astype(float) - baseline.right, findings.scenes)


def write(findings: ClipFindings, text: Mapping[str, str], folder: Path) -> None:
    """README.md, curve.png and frames.png; `text` holds title, words, default, uniform, loses, certified, training and
    limits."""
    _plot_curve(findings, folder / "curve.png")
    _plot_frames(findings, folder / "frames.png")
    full, default, near = findings.points[0], findings.points[findings.default], findings.cheapest_within(1)
    summary = (
        f"On {len(findings.scenes)} clips of devtest ({len(np.unique(findings.scenes))} scenes) the full walk "
        f"({full.macs / 1e6:.0f} MMACs, {full.frames:.0f} frames) is right for {full.accuracy} %.\n"
        f"By default ({text['default']}) a walk costs {default.macs / full.macs:.1%} of "
        f"that, sees {default.frames:.2f} frames and is right for {default.accuracy} %.\nThe "
        "cheapest price within a point of the full walk: "
        f"{near.macs / full.macs:.1%} of the MACs, {near.frames:.2f} of {full.frames:.0f} frames, {near.accuracy} %."
    )
    lost = ", ".join(f"{pair} ({count})" for pair, count in findings.lost.items()) or "none"
    sections = [
        f"# {text['title']}\n\n{text['words']}",
        f"![accuracy against compute](curve.png)\n\n{summary}",
        f"## By price\n{price_table(findings)}\n\n{_MS}",
        f"## Against uniform sampling\n{baseline_table(findings)}\n\n{text['uniform']}",
        f"## What was read\n![how many frames](frames.png)\n\n{_parts(findings)}\n\n{text.get('further', '')}",
        f"## What loses\nRight on the full walk and wrong at the default price: {lost}.\n{text['loses']}",
        f"## Certificates\n{text['certified']}",
        f"## Data and training\n{text['training']}",
        f"## Limits\n{text['limits']}",
    ]
    (folder / "README.md").write_text("\n\n".join(section.rstrip() for section in sections) + "\n")


_MS = (
    "frames: seen by the backbone. ms: the sum of the measured times of the stages run, batch 1, one thread, without "
    "decoding, on a machine that others used as well. Intervals: bootstrap over scenes. ECE: 15 bins."
)


def _parts(findings: ClipFindings) -> str:
    places = sorted({0, findings.default, len(findings.points) // 2, len(findings.points) - 1})
    rows = [
        [_named(findings, findings.points[place]), f"{findings.points[place].frames:.2f}"]
        + [f"{runs[place]:.2f}" for runs in findings.other.values()]
        for place in places
    ]
    return table(["price per GMAC", f"{BACKBONE} runs", *(f"{kind} runs" for kind in findings.other)], rows)


def _named(findings: ClipFindings, point: ClipPoint) -> str:
    name = "full" if point is findings.points[0] else f"{point.price:.3g}"
    return f"{name} (default)" if point is findings.points[findings.default] else name


def _mmacs(macs: float) -> str:
    return f"{macs / 1e6:.0f}"


def _points(point: ClipPoint) -> str:
    return f"{point.accuracy.mean * 100:.1f}"


def signed(apart: Interval) -> str:
    """Points with their sign."""
    return f"{apart.mean * 100:+.1f} ({apart.low * 100:+.1f} to {apart.high * 100:+.1f})"


def _plot_curve(findings: ClipFindings, file: Path) -> None:
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    ordered = sorted(findings.points, key=lambda point: point.macs)
    macs = [point.macs / 1e6 for point in ordered]
    axes.plot(macs, [point.accuracy.mean * 100 for point in ordered], "-", color="C0", label="by price (this package)")
    low, high = ([getattr(point.accuracy, side) * 100 for point in ordered] for side in ("low", "high"))
    axes.fill_between(macs, low, high, alpha=0.15, color="C0")
    default = findings.points[findings.default]
    axes.plot(default.macs / 1e6, default.accuracy.mean * 100, "o", color="C0", label="default")
    for start, mark, name in (("uniform", "C3^:", "uniform frames"), ("coarse", "C1s:", "coarse network, uniform")):
        some = [each for each in findings.baselines if each.name.startswith(start)]
        if some:
            axes.plot([each.macs / 1e6 for each in some], [each.accuracy.mean * 100 for each in some], mark, label=name)
    axes.set(xscale="log", xlabel="mean multiply-adds per clip, millions", ylabel="accuracy on devtest, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    save(figure, file, dpi=80)


def _plot_frames(findings: ClipFindings, file: Path) -> None:
    last = len(findings.points) - 1
    places = list(dict.fromkeys((findings.default, last // 2, last)))
    shown = {"frames seen": findings.frames}
    if findings.skipped is not None:
        shown["updates skipped"] = findings.skipped
    figure = Figure(figsize=(7, 2.4 * len(shown)), layout="constrained")
    grid = figure.subplots(len(shown), len(places), sharey=True, squeeze=False)
    for row, (what, counted) in zip(grid, shown.items(), strict=True):
        most = int(findings.frames.max())
        for axes, place in zip(row, places, strict=True):
            counts = np.bincount(counted[place], minlength=most + 1)
            axes.bar(range(len(counts)), counts / counts.sum() * 100)
            axes.set_title(_named(findings, findings.points[place]), fontsize=8)
            axes.set(xlabel=what, ylabel="clips, %")
    save(figure, file, dpi=80)


def summary(findings: ClipFindings) -> dict[str, Any]:
    """What the table of all families needs (models/recipes/ucf_table.py)."""
    named = {
        "full": findings.points[0],
        "default": findings.points[findings.default],
        "within a point": findings.cheapest_within(1),
    }
    against = {each.name: beside(findings, each) for each in findings.baselines}
    return {
        "walks": {
            name: {"macs": point.macs, "frames": point.frames, "ms": point.ms, "accuracy": str(point.accuracy)}
            for name, point in named.items()
        },
        "against": {
            name: None if best is None else f"{_points(best)} ({signed(apart)})"
            for name, (best, apart) in against.items()
        },
        "uniform": {each.name: str(each.accuracy) for each in findings.baselines},
    }
