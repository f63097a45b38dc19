"""The pictures of a model card: accuracy against compute."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.findings import Findings, Operating, PathFindings, Share, StaticNet

mpl.use("Agg")


def plot_curve(findings: Findings, file: Path) -> None:
    """Draw the price curve, the common threshold, forced exits and static nets, with 95 % intervals, into a PNG."""
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(*line(findings.prices), "-", color="C0", label="by price (this package)")
    axes.plot(*line(findings.thresholds), "--", color="C7", label="one confidence threshold for all exits")
    draw_default(axes, findings)
    forced = [(exit_.macs, exit_.accuracy) for exit_ in findings.exits]
    axes.errorbar(*points(forced), fmt="s", color="C1", capsize=3, label="exit forced (anytime)")
    draw_statics(axes, findings.statics)
    finish(axes)
    save(figure, file)


def draw_default(axes: Axes, findings: PathFindings) -> None:
    """Mark the default price."""
    default = findings.prices[findings.default]
    axes.plot(default.mean_macs / 1e6, default.accuracy.value * 100, "o", color="C0", label="default budget")


def draw_statics(axes: Axes, statics: Sequence[StaticNet]) -> None:
    """Static nets, joined by a dotted line."""
    if statics:
        static = [(net.macs, net.accuracy) for net in sorted(statics, key=lambda net: net.macs)]
        axes.errorbar(*points(static), fmt="^:", color="C3", capsize=3, label="static nets")


def finish(axes: Axes, cost: str = "mean multiply-adds per image, millions") -> None:
    """Axis titles, grid and legend."""
    axes.set(xlabel=cost, ylabel="accuracy on devtest, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")


def save(figure: Figure, file: Path, dpi: int = 110) -> None:
    """Into a PNG that doesn't change with the library's version."""
    figure.savefig(file, dpi=dpi, metadata={"Software": None})


def plot_image(image: NDArray, file: Path) -> None:  # type: ignore[type-arg]
    """One small image uint8 [h, w, 3], enlarged, into a PNG."""
    figure = Figure(figsize=(2, 2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(image, interpolation="nearest")
    axes.set_axis_off()
    save(figure, file, dpi=80)


def line(path: Sequence[Operating]) -> tuple[list[float], list[float]]:
    """Cost in MMACs and accuracy in % of a path, cheapest first."""
    ordered = sorted(path, key=lambda point: point.mean_macs)
    return [point.mean_macs / 1e6 for point in ordered], [point.accuracy.value * 100 for point in ordered]


def points(pairs: Sequence[tuple[int, Share]]) -> tuple[list[float], list[float], list[list[float]]]:
    """What `errorbar` draws of MACs and accuracies: MMACs, %, and the interval's parts below and above."""
    below = [(share.value - share.interval[0]) * 100 for _, share in pairs]
    above = [(share.interval[1] - share.value) * 100 for _, share in pairs]
    return [macs / 1e6 for macs, _ in pairs], [share.value * 100 for _, share in pairs], [below, above]
