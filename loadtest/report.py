"""`python -m loadtest.report`: the replay at all loads and shapes, as docs/replay.md with a plot."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

from loadtest.arrivals import SHAPES
from loadtest.replay import LOADS, PATIENCE_S, POLICIES, SECONDS_PER_MAC, Point, measure
from service.package.load import load
from service.settings import ZOO

matplotlib.use("Agg")
from matplotlib import pyplot

DOCS = Path(__file__).resolve().parent.parent / "docs"
NAMES = {
    "offramp": "offramp",
    "full": "full network, late ones refused",
    "thresholds": "one confidence threshold, the best in hindsight",
    "one_exit": "one exit for all, the best in hindsight",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the replays and write the page."""
    parser = argparse.ArgumentParser(prog="loadtest.report", description=__doc__)
    parser.add_argument("--requests", type=int, default=8000, help="mean number of requests a load")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    package = load(ZOO / "cifar10-early-exit")
    measured = {
        shape: [measure(package, shape, factor, requests=given.requests, seed=given.seed) for factor in LOADS]
        for shape in SHAPES
    }
    _plot(measured["poisson"], DOCS / "replay.svg")
    (DOCS / "replay.md").write_text(_page(measured, given.requests, given.seed))


def _plot(points: Sequence[Point], file: Path) -> None:
    figure, axes = pyplot.subplots(figsize=(7, 4))
    for policy in POLICIES:
        shares = [point.share_of_bound(policy) for point in points]
        axes.plot([point.load for point in points], shares, marker="o", label=NAMES[policy])
    axes.set_xlabel("load, in capacities of the full network")
    axes.set_ylabel("useful goodput / clairvoyant bound")
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    # Neither date nor random ids: the same figures give the same file.
    pyplot.rcParams["svg.hashsalt"] = "offramp"
    figure.savefig(file, metadata={"Date": None}, bbox_inches="tight")


def _page(measured: Mapping[str, Sequence[Point]], requests: int, seed: int) -> str:
    tables = [f"## {shape.capitalize()}\n{_table(points)}" for shape, points in measured.items()]
    return f"""# Replay

What would the same requests have come to under other policies? `python -m loadtest.report` makes this page; it drives
the scheduler and the market of the server (`service/scheduler/conductor.py`) on a virtual clock, with what the
calibration samples of `cifar10-early-exit` do at every exit. {requests} requests a load (seed {seed}), deadline
{PATIENCE_S * 1e3:.0f} ms, one lane, {SECONDS_PER_MAC * 1e12:.0f} us per MMAC; batches save nothing and overheads cost
nothing. Load 1 is what the full network can just serve.

**Useful goodput** counts answers that are right and in time. The figures are shares of a clairvoyant bound: a fluid
that knows for each sample the cheapest exit that is right, spends nothing on samples that no exit gets right, serves
the cheapest first, splits requests at will, and that no deadline, order or burst hinders. No server can reach it; the
full network itself, with no load at all, falls short of it by the samples that an early exit gets right and it doesn't.

The static policies are run kindly: earliest deadline first, whoever can't be in time refused, a walk whose deadline
nears answers with what it has, and the threshold or exit is the one that *turns out best* at each load. `late` and
`refused` are offramp's.

![share of the bound by load](replay.svg)

{chr(10).join(tables)}
"""


def _table(points: Sequence[Point]) -> str:
    head = "| load | bound | offramp | full | thresholds | one exit | late | refused |\n" + "| --- " * 8 + "|\n"
    rows = [
        f"| {point.load:g} | {point.bound:.3f} | "
        + " | ".join(f"{point.share_of_bound(policy):.3f}" for policy in POLICIES)
        + f" | {point.late:.4f} | {point.refused:.4f} |"
        for point in points
    ]
    return head + "\n".join(rows) + "\n"


if __name__ == "__main__":
    main()
