"""The model card of a package whose walks are routes: README.md, curve.png and routes.png."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models.card import PRICE_HEAD, Text, against_statics, baseline_table, percent, price_cells, table, write_sections
from models.findings import Operating
from models.plots import plot_image
from models.route_findings import Decision, RouteFindings, RoutePoint, RouteShare, RouteUse
from models.route_plots import plot_route_curve, plot_routes

SHOWN = 12
"""Prices in the table, if the path has as many."""


def write(findings: RouteFindings, text: Text, folder: Path, image: NDArray[np.uint8] | None = None) -> None:
    """Write README.md, curve.png and routes.png.

    `image` uint8 [h, w, 3], the test image `findings.failing`, is drawn as failing_case.png; without it that picture is
    the caller's to write. `text.failing` stands after the sentences about the failing case that are written here.
    """
    plot_route_curve(findings, folder / "curve.png")
    plot_routes(findings, folder / "routes.png")
    if image is not None:
        plot_image(image, folder / "failing_case.png")
    write_sections(replace(text, failing=f"{_case(findings)}\n{text.failing}".rstrip()), sections(findings), folder)


def sections(findings: RouteFindings) -> list[str]:
    """What was measured, in Markdown."""
    default, cheaper = findings.uses
    return [
        f"![accuracy against compute and time](curve.png)\n\n{_summary(findings)}",
        f"## By price\n{price_table(findings)}\n\n{_MS}",
        f"## Against baselines at equal compute\n{_baselines(findings)}",
        f"## Routes\n![who runs what](routes.png)\n\n{_named(findings, default)}\n\n{route_table(default)}",
        f"{_named(findings, cheaper)}\n\n{route_table(cheaper)}",
        f"## Decisions\n{decision_table(default)}\n\n{_constant(default.decisions)}",
        f"At the cheaper price:\n\n{decision_table(cheaper)}\n\n{_constant(cheaper.decisions)}",
    ]


def price_table(findings: RouteFindings) -> str:
    """Prices spread over the path, full, default and cheapest among them."""
    several = len(findings.exits) > 1
    head = [*PRICE_HEAD, "mean ms", "ECE %", "routes", *(["leave at each exit %"] if several else [])]
    return table(head, [_price_row(findings, point) for point in spread(findings.prices, findings.default)])


def spread(prices: Sequence[RoutePoint], default: int) -> list[RoutePoint]:
    """Full, default and cheapest, then always the point whose cost lies furthest from those chosen."""
    chosen = {0, default, len(prices) - 1}
    costs = np.array([point.mean_macs for point in prices])
    while len(chosen) < SHOWN:
        gaps = np.abs(costs[:, None] - costs[sorted(chosen)]).min(axis=1)
        if not gaps.max() > 0:
            break
        chosen.add(int(gaps.argmax()))
    return [prices[place] for place in sorted(chosen)]


def route_table(use: RouteUse) -> str:
    """The most frequent routes of one price."""
    rows = [[named(route), f"{route.macs / 1e6:.1f}", f"{route.share.value * 100:.2f}"] for route in use.top]
    rest = [[f"{use.distinct - len(use.top)} others", "", f"{use.rest.value * 100:.2f}"]] if use.rest.k else []
    return table(["optional stages run", "MMACs", "inputs %"], rows + rest)


def named(route: RouteShare) -> str:
    """`block2, block4`, or `none`."""
    return ", ".join(route.stages) or "none"


def decision_table(use: RouteUse) -> str:
    """Each optional stage: how often it runs, and how that differs between inputs."""
    rows = [
        [
            decision.stage,
            f"{decision.rate * 100:.1f}",
            f"{min(decision.by_class) * 100:.1f}..{max(decision.by_class) * 100:.1f}",
            f"{decision.variance:.3f}",
            f"{decision.class_share * 100:.1f}",
        ]
        for decision in use.decisions
    ]
    return table(["optional stage", "run by %", "by class %", "variance", "of it between classes %"], rows)


_MS = (
    "ms: the sum of the measured times of the stages that a walk runs, each at batch 1 on one thread, without the "
    "server's own work between them. ECE: 15 bins. Routes: different ones among the inputs at that price."
)


def _price_row(findings: RouteFindings, point: RoutePoint) -> list[str]:
    measured = [f"{point.mean_ms:.2f}", f"{point.calibration_error * 100:.1f}", str(point.distinct_routes)]
    several = len(findings.exits) > 1
    shares = [" / ".join(f"{share * 100:.0f}" for share in point.exit_shares)] if several else []
    return [*price_cells(findings, point), *measured, *shares]


def _summary(findings: RouteFindings) -> str:
    full, default, cheapest = (findings.prices[place] for place in (0, findings.default, -1))
    part, time = default.mean_macs / findings.full_macs, default.mean_ms / full.mean_ms
    return (
        f"On {full.accuracy.n} images of devtest the full walk ({full.mean_macs / 1e6:.1f} MMACs, "
        f"{full.mean_ms:.2f} ms) is right for {full.accuracy.value:.2%},\n"
        f"the cheapest for {cheapest.accuracy.value:.2%} at {cheapest.mean_macs / findings.full_macs:.1%} of its "
        "compute. At the default budget (the highest price certified for\n"
        f"agreement >= {findings.promised:g}) a walk costs {part:.1%} of the full walk and {time:.1%} of its time on "
        "average, is right "
        f"for\n{default.accuracy.value:.2%} and agrees with the full walk on {default.agreement.value:.2%}."
    )


def _baselines(findings: RouteFindings) -> str:
    full = findings.prices[0]
    paths: dict[str, Sequence[Operating]] = {"by price": findings.prices}
    least = f"a walk costs at least {findings.prices[-1].mean_macs / 1e6:.1f} on average"
    parts = [
        f"The same net without routing runs its {full.mean_macs / 1e6:.1f} MMACs for every image: "
        f"{percent(full.accuracy)}."
    ]
    if findings.fixed:
        parts.append(baseline_table(findings.fixed, paths, "one way for every image"))
    if findings.statics:
        parts += [baseline_table(findings.statics, paths, "static net"), against_statics(findings, least)]
    return "\n\n".join(part for part in parts if part)


def _named(findings: RouteFindings, use: RouteUse) -> str:
    point = findings.prices[use.point]
    name = "the default price" if use.point == findings.default else f"the price {point.setting:.3g}"
    return (
        f"At {name} ({point.mean_macs / 1e6:.1f} MMACs, {percent(point.accuracy)} right) inputs take {use.distinct} "
        f"different routes (entropy {use.entropy:.2f} bits):"
    )


def _constant(decisions: Sequence[Decision]) -> str:
    constant = [decision.stage for decision in decisions if decision.constant]
    if not constant:
        return "Every optional stage is run by some inputs and skipped by others."
    return (
        f"All but a few inputs are treated alike by {', '.join(constant)}: static pruning at this price, no decision."
    )


def _case(findings: RouteFindings) -> str:
    case = findings.case
    return (
        f"Image {case.row} of devtest is labelled {case.label}. The full walk says {case.full_answer} "
        f"({case.full_score:.2f}). At the default price the walk runs\n"
        f"of the optional stages {', '.join(case.stages) or 'none'} and says {case.answer} ({case.score:.2f}): a high "
        "score is no promise for one image,\nthe certificate speaks of the average."
    )
