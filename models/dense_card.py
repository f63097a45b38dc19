"""The model card of a package with dense answers whose walks refine parts: README.md, curve.png and routes.png."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from models.calibration.refining import Refined
from models.card import Text, table, write_sections
from models.plots import save
from service.core import Price, named
from service.package.certificates import smallest_sample
from service.package.curves import DEFAULT_CONFIDENCE, Curve
from service.package.graph import StageGraph
from service.package.load import Package
from service.package.manifest import DEFAULT_AGREEMENT

SHOWN = 12
"""Prices in the table, at most."""


@dataclass(frozen=True)
class Metric:
    """What a dense task is measured by on a whole split: its name, and its value in % at each price."""

    name: str
    values: list[float]


@dataclass(frozen=True)
class Static:
    """One way for every input: mean MACs, ms if measured, the metric in %."""

    name: str
    macs: float
    ms: float | None
    metric: float


@dataclass(frozen=True)
class DenseFindings:
    """What was measured on devtest.

    Attributes:
        prices: float64 [P].
        walks: of devtest.
        metrics: the one of the plot first.
        stage_ms: measured, of one row, by stage.
        default: place of the default price.
        statics: ways of one cost for every input; `families` of them are joined by a line.
        part: what a part of the first level is called ("tile").
        finer: what the rows of the further levels are called.
    """

    package: Package
    prices: NDArray[np.float64]
    walks: Refined
    metrics: list[Metric]
    stage_ms: dict[str, float]
    default: int
    statics: dict[str, list[Static]]
    part: str
    finer: tuple[str, ...] = ()

    @property
    def graph(self) -> StageGraph:
        """The package's."""
        return self.package.graph

    @property
    def macs(self) -> NDArray[np.float64]:
        """Mean MACs at each price, [P]."""
        return np.asarray(self.walks.macs(self.graph).mean(axis=1))

    @property
    def ms(self) -> NDArray[np.float64]:
        """Mean ms of a walk's stages at each price, [P]."""
        return np.asarray(self.walks.rows.mean(axis=1) @ [self.stage_ms[name] for name in self.graph.names])

    def ms_of(self, parts: float) -> float:
        """ms of walks that refine so many parts of the first level, and none of a further one."""
        first, part, paste = (self.stage_ms[name] for name in self.graph.names[:3])
        return first + parts * part + paste

    @property
    def counts(self) -> NDArray[np.float64]:
        """Mean parts refined at each price, [P]."""
        return np.asarray(self.walks.counts.mean(axis=1))

    def share(self, place: int, level: int) -> float:
        """Mean share of a level's rows that run at a price."""
        return float(self.walks.parts(level)[place].mean() / self.graph.rows[1 + 2 * level])

    @property
    def near_full(self) -> int:
        """Place of the cheapest price within half a point of the full walk."""
        main = np.array(self.metrics[0].values)
        within = np.flatnonzero(main >= main[0] - 0.5)
        return int(within[np.argmin(self.macs[within])])

    @property
    def told(self) -> int:
        """Place of the price that is told of: the default, or if that is the full walk the one near it."""
        return self.default or self.near_full

    @property
    def gone_on(self) -> NDArray[np.float64]:
        """Share of the inputs that go on from the first exit, [P]."""
        return np.asarray((self.walks.rows[..., 2] > 0).mean(axis=1))


def write(findings: DenseFindings, text: Text, more: Sequence[str], folder: Path) -> None:
    """Write all but failing_case.png; `more` sections follow what was measured."""
    plot_curve(findings, folder / "curve.png")
    plot_routes(findings, folder / "routes.png")
    main = findings.metrics[0]
    measured = [
        f"![{main.name} against compute and time](curve.png)\n\n{summary(findings)}",
        f"## By price\n{price_table(findings)}\n\n{_MS}",
        f"## Against baselines\n{static_table(findings)}",
        f"## Routes\n![{findings.part}s refined](routes.png)\n\n{routes(findings)}",
        *more,
    ]
    write_sections(text, measured, folder)


_MS = (
    "ms: the sum of the measured times of the stages that a walk runs, on one thread, parts in batches of 32, without "
    "decoding and the server's own work between them, while other work ran. Agreement: mean over inputs "
    "with the full walk's answer."
)


def summary(findings: DenseFindings) -> str:
    """The full walk, the cheapest, the default, in words."""
    macs, ms, main = findings.macs, findings.ms, findings.metrics[0]
    n, default = findings.walks.counts.shape[1], findings.default
    cheapest = findings.near_full
    rows, record = findings.graph.rows[1], findings.package.record
    promised = findings.package.manifest.default_agreement
    return (
        f"On {n} inputs of devtest the full walk ({macs[0] / 1e6:.0f} MMACs, {ms[0]:.0f} ms) reaches {main.name} "
        f"{main.values[0]:.2f} %, the first exit alone\n{main.values[-1]:.2f} % at {macs[-1] / macs[0]:.0%} of its "
        f"compute. Within half a point of the full walk comes the price {_named(findings, cheapest)}:\n"
        f"{findings.counts[cheapest] / rows:.0%} of the {findings.part}s refined, {macs[cheapest] / macs[0]:.0%} of "
        f"the MACs, {ms[cheapest] / ms[0]:.0%} of the time, {main.name} {main.values[cheapest]:.2f} %. The default "
        f"budget (certified for\nagreement >= {promised:g} on {record.size} calibration inputs) is the price "
        f"{_named(findings, default)}: {macs[default] / macs[0]:.0%} of the MACs, {main.name} "
        f"{main.values[default]:.2f} %.{_too_few(findings)}"
    )


def _too_few(findings: DenseFindings) -> str:
    """What few inputs can certify."""
    record, sure = findings.package.record, []
    least = smallest_sample(1 - DEFAULT_AGREEMENT, 1 - DEFAULT_CONFIDENCE)
    if record.size >= least:
        return ""
    for target in (0.95, 0.93, 0.9, 0.85, 0.8, 0.7, 0.6):
        place = int(np.searchsorted(record.prices, curve_of(findings.package).certify("agreement", target, 0.95).price))
        if place and findings.macs[place] < findings.macs[0]:
            sure.append(f"{target:g} at {findings.macs[place] / findings.macs[0]:.0%} of the MACs")
    return (
        f"\n\nNo {record.size} inputs can certify {DEFAULT_AGREEMENT:g}, whatever they say (it takes {least}), so the "
        f"package promises less by default. What these certify is agreement of {', '.join(sure) or 'nothing'}."
    )


def curve_of(package: Package) -> Curve:
    """The package's certified curve."""
    return Curve(
        package.record,
        package.graph.full_macs,
        package.digest,
        "CPUExecutionProvider",
        default_agreement=package.manifest.default_agreement,
    )


def price_table(findings: DenseFindings) -> str:
    """Prices spread over the path by cost, full, default and cheapest among them."""
    head = ["price per GMAC", "mean MMACs", "of full", f"{findings.part}s refined %"]
    head += [*(f"{name} refined %" for name in findings.finer), "mean ms"]
    head += [f"{metric.name} %" for metric in findings.metrics] + ["agreement %", "leave at the first exit %"]
    return table(head, [_row(findings, place) for place in spread(findings)])


def spread(findings: DenseFindings) -> list[int]:
    """Full, default and cheapest, then always the price whose cost lies furthest from those chosen."""
    chosen, macs = {0, findings.default, len(findings.prices) - 1}, findings.macs
    while len(chosen) < min(SHOWN, len(macs)):
        gaps = np.abs(macs[:, None] - macs[sorted(chosen)]).min(axis=1)
        if not gaps.max() > 0:
            break
        chosen.add(int(gaps.argmax()))
    return sorted(chosen)


def _row(findings: DenseFindings, place: int) -> list[str]:
    macs, name = findings.macs, _named(findings, place)
    return [
        name + (" (default)" if place == findings.default else ""),
        f"{macs[place] / 1e6:.1f}",
        f"{macs[place] / macs[0]:.3f}",
        f"{findings.counts[place] / findings.graph.rows[1] * 100:.1f}",
        *(f"{findings.share(place, level) * 100:.1f}" for level in range(1, 1 + len(findings.finer))),
        f"{findings.ms[place]:.1f}",
        *(f"{metric.values[place]:.2f}" for metric in findings.metrics),
        f"{findings.walks.agreement[place].mean() * 100:.2f}",
        f"{(1 - findings.gone_on[place]) * 100:.0f}",
    ]


def _named(findings: DenseFindings, place: int) -> str:
    name = named(Price(float(findings.prices[place])))
    return name if isinstance(name, str) else f"{name:.3g}"


def static_table(findings: DenseFindings) -> str:
    """Baselines, and what the price path reaches at the same cost."""
    main, rows = findings.metrics[0], []
    order = np.argsort(findings.macs, kind="stable")
    for family, nets in findings.statics.items():
        for net in nets:
            ours = np.interp(net.macs, findings.macs[order], np.array(main.values)[order])
            shown = f"{ours:.2f}" if net.macs >= findings.macs.min() else "nothing so cheap"
            rows.append([family, net.name, f"{net.macs / 1e6:.0f}", f"{net.metric:.2f}", shown])
    return table(["baseline", "", "MMACs", f"its {main.name} %", "by price, at equal MACs"], rows)


def routes(findings: DenseFindings) -> str:
    """How many parts different inputs get, in words."""
    told = []
    for place in _two(findings):
        counts = findings.walks.counts[place]
        low, middle, high = np.percentile(counts, [10, 50, 90])
        told.append(
            f"At the price {_named(findings, place)} inputs have {counts.min()} to {counts.max()} {findings.part}s "
            f"refined (10 % at most {low:.0f}, half at most {middle:.0f}, 90 % at most {high:.0f}; "
            f"{len(np.unique(counts))} different numbers among {len(counts)} inputs)."
        )
    return "\n".join(told)


def _two(findings: DenseFindings) -> list[int]:
    """The price that is told of, and the one that costs half of the way from it down to the cheapest."""
    macs = findings.macs
    half = (macs[findings.told] + macs[-1]) / 2
    return list(dict.fromkeys([findings.told, int(np.abs(macs - half).argmin())]))


def plot_curve(findings: DenseFindings, file: Path) -> None:
    """The first metric against MACs and against ms, with baselines, into a PNG."""
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    compute, time = figure.subplots(1, 2)
    main = findings.metrics[0]
    for axes, cost, name in ((compute, findings.macs / 1e6, "mean MMACs"), (time, findings.ms, "mean ms, one thread")):
        order = np.argsort(cost, kind="stable")
        axes.plot(cost[order], np.array(main.values)[order], "-o", ms=3, color="C0", label="by price (this package)")
        axes.plot(cost[findings.default], main.values[findings.default], "o", color="C0", ms=8, label="default budget")
        axes.plot(cost[0], main.values[0], "D", color="C2", label="same net, no routing")
        for number, (family, nets) in enumerate(findings.statics.items()):
            at = [(net.macs / 1e6 if axes is compute else net.ms, net.metric) for net in nets]
            known = [(x, y) for x, y in at if x is not None]
            if known:
                axes.plot(*zip(*known, strict=True), "s:", color=f"C{number + 3}", ms=4, label=family)
        axes.set(xlabel=name, ylabel=f"{main.name} on devtest, %")
        axes.grid(alpha=0.3)
    compute.legend(loc="lower right", fontsize=8)
    save(figure, file, dpi=90)


def plot_routes(findings: DenseFindings, file: Path) -> None:
    """Histograms of parts refined at two prices, into a PNG."""
    places = _two(findings)
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, place in zip(np.atleast_1d(figure.subplots(1, len(places))), places, strict=True):
        axes.hist(findings.walks.counts[place], bins=np.arange(-0.5, findings.graph.rows[1] + 1, 3), color="C0")
        axes.set(xlabel=f"{findings.part}s refined", ylabel="inputs", title=f"price {_named(findings, place)}")
    save(figure, file, dpi=80)
