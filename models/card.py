"""The model card of a package: README.md with what was measured, on what, and where it fails."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.findings import Findings, Operating, PathFindings, Share, StaticNet, at_macs

PRICE_HEAD = ("price per GMAC", "mean MMACs", "of full", "accuracy %", "agreement %")
SHOWN_SHARES = (0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.16)


@dataclass(frozen=True)
class Text:
    """What a card says in words; `failing` describes the failing case."""

    title: str
    intro: str
    data: str
    training: str
    limits: str
    failing: str


def write_card(findings: Findings, text: Text, folder: Path) -> None:
    """Write README.md; the pictures `curve.png` and `failing_case.png` stand beside it."""
    sections = [
        f"![accuracy against compute](curve.png)\n\n{_summary(findings)}",
        f"## Exits, each forced for every image (anytime)\n{exit_table(findings)}",
        f"## By price\n{price_table(findings)}",
        f"## Against baselines at equal compute\n{_baselines(findings)}\n\n{_crossing(findings)}",
    ]
    write_sections(text, sections, folder)


def write_sections(text: Text, measured: Sequence[str], folder: Path) -> None:
    """README.md: title and introduction, what was measured, then the rest of the words."""
    sections = [
        f"# {text.title}\n\n{text.intro}",
        *measured,
        f"## Data\n{text.data}",
        f"## Training\n{text.training}",
        f"## Limits\n{text.limits}",
        f"## A failing case\n![the image](failing_case.png)\n\n{text.failing}",
    ]
    (folder / "README.md").write_text("\n\n".join(section.rstrip() for section in sections if section) + "\n")


def exit_table(findings: Findings) -> str:
    """Accuracy and calibration of each exit."""
    rows = [
        [
            exit_.name,
            f"{exit_.macs / 1e6:.1f}",
            f"{exit_.macs / findings.full_macs:.3f}",
            percent(exit_.accuracy),
            f"{exit_.calibration_error * 100:.1f}",
            "" if exit_ is findings.exits[-1] else f"{exit_.auroc:.3f}",
        ]
        for exit_ in findings.exits
    ]
    head = [
        "exit",
        "MMACs",
        "of full",
        "accuracy % (95 %)",
        "ECE %",
        'AUROC of 1 - score for "wrong here, right later"',
    ]
    return table(head, rows)


def price_table(findings: Findings) -> str:
    """Some prices of the path, full and default among them."""
    full, default = findings.prices[0], findings.prices[findings.default]
    chosen = [full, default, *(_nearest(findings, share) for share in SHOWN_SHARES), findings.prices[-1]]
    rows = [_price_row(findings, point) for point in sorted(dict.fromkeys(chosen), key=lambda p: p.setting)]
    return table([*PRICE_HEAD, "leave at each exit %"], rows)


def baseline_table(nets: Sequence[StaticNet], paths: Mapping[str, Sequence[Operating]], named: str) -> str:
    """Nets of one fixed cost, and what paths of walks reach at each of those costs; `named` heads the first column."""
    rows = [
        [f"{net.name}: {net.macs / 1e6:.1f}", percent(net.accuracy), *(_at(path, net.macs) for path in paths.values())]
        for net in sorted(nets, key=lambda net: net.macs)
    ]
    return table([f"{named}: MMACs", "its accuracy % (95 %)", *(f"{name} %" for name in paths)], rows)


def percent(share: Share) -> str:
    """`90.12 (89.3 to 90.9)`."""
    low, high = share.interval
    return f"{share.value * 100:.2f} ({low * 100:.1f} to {high * 100:.1f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    line: Callable[[Sequence[str]], str] = lambda cells: f"| {' | '.join(cells)} |"  # noqa: E731
    return "\n".join([line(head), line(["---"] * len(head)), *(line(row) for row in rows)])


def _summary(findings: Findings) -> str:
    last, first, default = findings.exits[-1], findings.exits[0], findings.prices[findings.default]
    full = findings.full_macs
    return (
        f"On {last.accuracy.n} images of devtest the full network ({full / 1e6:.1f} MMACs) is right for "
        f"{last.accuracy.value:.2%}, the first exit\n"
        f"for {first.accuracy.value:.2%} at {first.macs / full:.1%} of the compute. At the default budget (the highest "
        "price certified for agreement >= 0.99)\n"
        f"a walk costs {default.mean_macs / full:.1%} of the full network on average, is right for "
        f"{default.accuracy.value:.2%} and agrees with the full network on {default.agreement.value:.2%}."
    )


def _baselines(findings: Findings) -> str:
    paths = {"by price": findings.prices, "by one threshold": findings.thresholds}
    return baseline_table(findings.statics, paths, "static net")


def _crossing(findings: Findings) -> str:
    first = findings.exits[0]
    return against_statics(findings, f"a walk costs at least the first exit's {first.macs / 1e6:.1f}")


def against_statics(findings: PathFindings, least: str) -> str:
    """Where static nets win, in words; `least` says what a walk costs at least."""
    if len(findings.statics) < 2:
        return ""
    if max(net.macs for net in findings.statics) <= findings.prices[-1].mean_macs:
        return f"No static net was trained at the cost of these walks: {least}."
    crossing = findings.crossing()
    won = "loses at the dearest of them" if crossing is None else f"wins from {crossing / 1e6:.0f} MMACs on"
    return f"Against the line through the static nets the price path {won}; {least}."


def _at(path: Sequence[Operating], macs: int) -> str:
    accuracy = at_macs(path, macs)
    return "nothing so cheap" if accuracy is None else f"{accuracy * 100:.2f}"


def _nearest(findings: Findings, share: float) -> Operating:
    return min(findings.prices, key=lambda point: abs(point.mean_macs / findings.full_macs - share))


def _price_row(findings: Findings, point: Operating) -> list[str]:
    shares = " / ".join(f"{share * 100:.0f}" for share in point.exit_shares)
    return [*price_cells(findings, point), shares]


def price_cells(findings: PathFindings, point: Operating) -> list[str]:
    """Price, mean MMACs, their share of full, accuracy and agreement."""
    name = "full" if point is findings.prices[0] else f"{point.setting:.3g}"
    if point is findings.prices[findings.default]:
        name += " (default)"
    return [
        name,
        f"{point.mean_macs / 1e6:.1f}",
        f"{point.mean_macs / findings.full_macs:.3f}",
        percent(point.accuracy),
        f"{point.agreement.value * 100:.2f}",
    ]
