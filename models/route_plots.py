"""The pictures of a routed package's card: accuracy against compute and time, and who runs what."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from models.plots import draw_default, draw_statics, finish, line, points, save
from models.route_findings import RouteFindings, RouteUse


def plot_route_curve(findings: RouteFindings, file: Path) -> None:
    """Accuracy of the price path against MACs and against time, with the full walk, fixed ways and static nets."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    compute, time = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_compute(compute, findings)
    _draw_time(time, findings)
    save(figure, file)


def plot_routes(findings: RouteFindings, file: Path) -> None:
    """The most frequent routes at the default price and a cheaper one; below, who runs which stage, by class."""
    stages = len(findings.uses[0].decisions)
    figure = Figure(figsize=(11, 7.2), layout="constrained")
    above, below = figure.subplots(2, 2)
    for place, use in enumerate(findings.uses):
        point = findings.prices[use.point]
        price = "default price" if use.point == findings.default else f"price {point.setting:.3g}"
        _draw_shares(above[place], use, f"{price}: {point.mean_macs / 1e6:.1f} MMACs, {use.distinct} routes")
        _draw_rates(below[place], use, findings.labels, small=stages > 12)
    save(figure, file, dpi=90)


def _draw_compute(axes: Axes, findings: RouteFindings) -> None:
    full = findings.prices[0]
    axes.plot(*line(findings.prices), "-", color="C0", label="by price (this package)")
    draw_default(axes, findings)
    axes.errorbar(
        *points([(findings.full_macs, full.accuracy)]), fmt="D", color="C2", capsize=3, label="same net, no routing"
    )
    if findings.fixed:
        fixed = [(way.macs, way.accuracy) for way in sorted(findings.fixed, key=lambda way: way.macs)]
        axes.errorbar(*points(fixed), fmt="s:", color="C1", capsize=3, label="one way for every image")
    draw_statics(axes, findings.statics)
    finish(axes)


def _draw_time(axes: Axes, findings: RouteFindings) -> None:
    ordered = sorted(findings.prices, key=lambda point: point.mean_ms)
    axes.plot([point.mean_ms for point in ordered], [point.accuracy.value * 100 for point in ordered], "-", color="C0")
    for point, mark in ((findings.prices[findings.default], "C0o"), (findings.prices[0], "C2D")):
        axes.plot(point.mean_ms, point.accuracy.value * 100, mark)
    for nets, mark in ((findings.fixed, "C1s"), (findings.statics, "C3^")):
        timed = [(net.ms, net.accuracy.value * 100) for net in nets if net.ms is not None]
        axes.plot([ms for ms, _ in timed], [accuracy for _, accuracy in timed], mark)
    axes.set(xlabel="mean ms of a walk's stages, batch 1, one thread")
    axes.grid(alpha=0.3)


def _draw_shares(axes: Axes, use: RouteUse, title: str) -> None:
    names = [", ".join(route.stages) or "none" for route in use.top]
    shown = [name if len(name) <= 48 else f"{name[:45]}.." for name in names]
    axes.barh(range(len(shown)), [route.share.value * 100 for route in use.top], color="C0")
    axes.set_yticks(range(len(shown)), shown, fontsize=7)
    axes.invert_yaxis()
    axes.set(xlabel="inputs, %")
    axes.set_title(title, fontsize=9)


def _draw_rates(axes: Axes, use: RouteUse, labels: Sequence[str], *, small: bool) -> None:
    if not use.decisions:
        axes.set_axis_off()
        return
    rates = np.array([decision.by_class for decision in use.decisions]) * 100
    shown = axes.imshow(rates, vmin=0, vmax=100, cmap="viridis", aspect="auto")
    axes.set_yticks(range(len(rates)), [decision.stage for decision in use.decisions], fontsize=5 if small else 7)
    if rates.shape[1] == len(labels):
        axes.set_xticks(range(len(labels)), labels, fontsize=7, rotation=45, ha="right")
    axes.set_title("run by, % of each class", fontsize=9)
    assert axes.figure is not None
    axes.figure.colorbar(shown, ax=axes)
