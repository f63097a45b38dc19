"""The model card of a token-dropping encoder: README.md, curve.png and routes.png."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from models.card import PRICE_HEAD, percent, price_cells, table
from models.findings import at_macs
from models.plots import draw_default, finish, line, points, save
from models.token_findings import Forced, TokenFindings

SHOWN = 12


@dataclass(frozen=True)
class Words:
    """What the card says in words: `read` shows what was read of some sentences, `rest` are Markdown sections."""

    title: str
    intro: str
    read: Sequence[str]
    rest: Sequence[str]


def write(findings: TokenFindings, texts: Words, folder: Path) -> None:
    """Write all three."""
    _plot_curve(findings, folder / "curve.png")
    _plot_routes(findings, folder / "routes.png")
    (folder / "README.md").write_text("\n\n".join(_sections(findings, texts)) + "\n")


def _sections(findings: TokenFindings, words: Words) -> list[str]:
    return [
        f"# {words.title}\n\n{words.intro}",
        f"![accuracy against compute](curve.png)\n\n{_summary(findings)}",
        f"## By price\n{price_table(findings)}\n\n{_MS}",
        f"## Against baselines\n{_baselines(findings)}",
        f"## Dropping tokens alone\n{_drop_table(findings)}",
        f"## Patience instead of confidence\n{_patience_table(findings)}",
        "## Routes\n![who leaves where, on how many tokens](routes.png)",
        "## What was read\n" + "\n".join(words.read),
        *words.rest,
    ]


def price_table(findings: TokenFindings) -> str:
    """Prices spread over the path, full, default and cheapest among them."""
    head = [*PRICE_HEAD, "mean ms", "leave at each exit %", "tokens kept in each layer %"]
    rows = []
    for place in spread(findings):
        point = findings.prices[place]
        leave = " / ".join(f"{share * 100:.0f}" for share in point.exit_shares)
        kept = " / ".join(f"{share * 100:.0f}" if share else "-" for share in findings.tokens[place])
        rows.append([*price_cells(findings, point), f"{findings.ms[place]:.2f}", leave, kept])
    return table(head, rows)


def spread(findings: TokenFindings) -> list[int]:
    """Full, default and cheapest, then always the price whose cost lies furthest from those chosen."""
    chosen = {0, findings.default, len(findings.prices) - 1}
    costs = np.array([point.mean_macs for point in findings.prices])
    while len(chosen) < SHOWN:
        gaps = np.abs(costs[:, None] - costs[sorted(chosen)]).min(axis=1)
        if not gaps.max() > 0:
            break
        chosen.add(int(gaps.argmax()))
    return sorted(chosen)


_MS = (
    "ms: the sum of the measured times of the stages that a walk runs, batch 1 on one thread, without the server's own "
    "work between them; ragged stages by the number of their tokens. Tokens kept: of the texts that get so far, the "
    "opening and the closing token included."
)


def _summary(findings: TokenFindings) -> str:
    full, default, cheapest = (findings.prices[place] for place in (0, findings.default, -1))
    return (
        f"On the {full.accuracy.n} sentences of dev the full walk ({full.mean_macs / 1e6:.0f} MMACs on average; padded "
        f"to 64 tokens it\nwould be {findings.padded_macs / 1e6:.0f}) is right for {full.accuracy.value:.2%}, the "
        f"bag of n-grams alone for {cheapest.accuracy.value:.2%}. At the default budget (the\nhighest price certified "
        f"for agreement >= 0.99) a walk costs {default.mean_macs / findings.full_macs:.1%} of the full walk and "
        f"{findings.ms[findings.default] / findings.ms[0]:.1%} of its\ntime, is right for {default.accuracy.value:.2%} "
        f"and agrees with the full walk on {default.agreement.value:.2%}. {_half_point(findings)}"
    )


def _half_point(findings: TokenFindings) -> str:
    least = findings.prices[0].accuracy.value - 0.005
    good = [point for point in findings.prices if point.accuracy.value >= least]
    best = min(good, key=lambda point: point.mean_macs)
    return (
        "Within half a point of the full walk's accuracy a walk\ncosts down to "
        f"{best.mean_macs / findings.full_macs:.1%} "
        f"(price {best.setting:.3g}, {best.accuracy.value:.2%}; chosen on dev, so a little flattering)."
    )


def _baselines(findings: TokenFindings) -> str:
    head = ["for every text", "mean MMACs", "accuracy % (95 %)", "ECE %", "AUROC", "by price at that cost %"]
    rows = []
    for each in findings.exits:
        reached = at_macs(findings.prices, each.macs)
        rows.append(
            [
                f"leave at {each.name}",
                f"{each.macs / 1e6:.1f}",
                percent(each.accuracy),
                f"{each.calibration_error * 100:.1f}",
                "" if np.isnan(each.auroc) else f"{each.auroc:.3f}",
                "nothing so cheap" if reached is None else f"{reached * 100:.2f}",
            ]
        )
    return (
        "The last line is the same net without routing; the first a static bag of n-grams; those between are the "
        'encoder cut after so many layers.\nAUROC: of 1 - score for "wrong here, right later".\n\n'
        f"{table(head, rows)}\n\n{_losing(findings)}"
    )


def _losing(findings: TokenFindings) -> str:
    """Which fixed exits beat the price path at their cost."""
    reached = {each.name: at_macs(findings.prices, each.macs) for each in findings.exits[:-1]}
    better = [each.name for each in findings.exits[:-1] if each.accuracy.value > (reached[each.name] or 0.0)]
    if not better:
        return "No fixed exit beats the price path at its cost."
    return f"At equal cost the price path loses to leaving always at {', '.join(better)}."


def _drop_table(findings: TokenFindings) -> str:
    head = ["least attention, of the average", "mean MMACs", "of full", "accuracy % (95 %)"]
    told = "All layers run; only tokens are dropped, at one threshold for every text."
    return f"{told}\n\n{_table(findings, head, findings.drops)}"


def _patience_table(findings: TokenFindings) -> str:
    head = ["exits in a row that agree", "mean MMACs", "of full", "accuracy % (95 %)", "by price at that cost %"]
    return (
        "What `rule: patience` would do, without dropping tokens. It has as many settings as there are exits.\n\n"
        + _table(findings, head, findings.patience)
    )


def _table(findings: TokenFindings, head: list[str], rows: Sequence[Forced]) -> str:
    made = []
    for each in rows:
        cells = [each.name, f"{each.macs / 1e6:.1f}", f"{each.macs / findings.full_macs:.3f}", percent(each.accuracy)]
        reached = at_macs(findings.prices, each.macs)
        made.append([*cells, "" if reached is None else f"{reached * 100:.2f}"][: len(head)])
    return table(head, made)


def _plot_curve(findings: TokenFindings, file: Path) -> None:
    figure = Figure(figsize=(7.5, 4.8), layout="constrained")
    axes = figure.subplots()
    axes.plot(*line(findings.prices), "-", color="C0", label="by price (this package)")
    draw_default(axes, findings)
    exits = [(round(each.macs), each.accuracy) for each in findings.exits]
    axes.errorbar(*points(exits), fmt="s:", color="C1", capsize=3, label="one exit for every text")
    for found, mark, name in ((findings.patience, "C2v--", "patience"), (findings.drops, "C4x--", "dropping alone")):
        axes.plot([each.macs / 1e6 for each in found], [each.accuracy.value * 100 for each in found], mark, label=name)
    # Dropping too much falls off the picture; the table has it.
    axes.set_ylim(bottom=min(each.accuracy.value for each in findings.exits) * 100 - 6)
    finish(axes, "mean multiply-adds per sentence, millions")
    save(figure, file, dpi=90)


def _plot_routes(findings: TokenFindings, file: Path) -> None:
    figure = Figure(figsize=(8, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    places = (findings.default, cheaper(findings))
    names = [each.name for each in findings.exits]
    for number, place in enumerate(places):
        point, name = findings.prices[place], "default" if not number else f"price {findings.prices[place].setting:.3g}"
        at = np.arange(len(names)) + number * 0.4
        left.bar(
            at, [share * 100 for share in point.exit_shares], 0.4, label=f"{name}: {point.mean_macs / 1e6:.0f} MMACs"
        )
        right.plot(names[1:], findings.tokens[place] * 100, "o-", label=name)
    left.set_xticks(np.arange(len(names)) + 0.2, names, fontsize=7)
    left.set(ylabel="leave here, % of texts")
    right.set(ylabel="tokens kept, % of a text's", ylim=(0, 105))
    right.tick_params(labelsize=7)
    for axes in (left, right):
        axes.legend(fontsize=7)
    save(figure, file, dpi=90)


def cheaper(findings: TokenFindings) -> int:
    """The price whose walks cost nearest to half way from the default's to the cheapest."""
    prices, default = findings.prices, findings.default
    aim = (prices[default].mean_macs + prices[-1].mean_macs) / 2
    return min(range(default, len(prices)), key=lambda place: abs(prices[place].mean_macs - aim))
