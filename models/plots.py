"""The picture of a model card: accuracy against compute."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.findings import Findings, Operating, Share

mpl.use("Agg")


def plot_curve(findings: Findings, file: Path) -> None:
    """Draw the price curve, the common threshold, forced exits and static nets, with 95 % intervals, into a PNG."""
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(*_line(findings.prices), "-", color="C0", label="by price (this package)")
    axes.plot(*_line(findings.thresholds), "--", color="C7", label="one confidence threshold for all exits")
    default = findings.prices[findings.default]
    axes.plot(default.mean_macs / 1e6, default.accuracy.value * 100, "o", color="C0", label="default budget")
    forced = [(exit_.macs, exit_.accuracy) for exit_ in findings.exits]
    axes.errorbar(*_points(forced), fmt="s", color="C1", capsize=3, label="exit forced (anytime)")
    if findings.statics:
        static = [(net.macs, net.accuracy) for net in sorted(findings.statics, key=lambda net: net.macs)]
        axes.errorbar(*_points(static), fmt="^:", color="C3", capsize=3, label="static nets")
    axes.set(xlabel="mean multiply-adds per image, millions", ylabel="accuracy on devtest, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right")
    figure.savefig(file, dpi=110, metadata={"Software": None})


def plot_image(image: NDArray, file: Path) -> None:  # type: ignore[type-arg]
    """One small image uint8 [h, w, 3], enlarged, into a PNG."""
    figure = Figure(figsize=(2, 2), layout="constrained")
    axes = figure.subplots()
    axes.imshow(image, interpolation="nearest")
    axes.set_axis_off()
    figure.savefig(file, dpi=80, metadata={"Software": None})


def _line(path: Sequence[Operating]) -> tuple[list[float], list[float]]:
    ordered = sorted(path, key=lambda point: point.mean_macs)
    return [point.mean_macs / 1e6 for point in ordered], [point.accuracy.value * 100 for point in ordered]


def _points(pairs: Sequence[tuple[int, Share]]) -> tuple[list[float], list[float], list[list[float]]]:
    below = [(share.value - share.interval[0]) * 100 for _, share in pairs]
    above = [(share.interval[1] - share.value) * 100 for _, share in pairs]
    return [macs / 1e6 for macs, _ in pairs], [share.value * 100 for _, share in pairs], [below, above]
