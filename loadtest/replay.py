"""`python -m loadtest.replay`: offramp's scheduler and market on a virtual clock, against static servers and a bound.

Its figure is useful goodput: answers that are right and in time, as a share of what a clairvoyant fluid would make.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from loadtest.arrivals import SHAPES, arrivals
from loadtest.simulation import Load, Offramp, Tally, clairvoyant_share, one_exit, serve_static, thresholds
from loadtest.traces import Device, Traces
from service.package.load import Package, load
from service.settings import ZOO

LOADS = (0.25, 0.5, 0.8, 1.0, 1.3, 2.0, 3.0, 4.0, 6.0)
CONFIDENCES = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)
SECONDS_PER_MAC = 20e-12
PATIENCE_S = 0.05
POLICIES = ("offramp", "full", "thresholds", "one_exit")


@dataclass(frozen=True, slots=True)
class Point:
    """Useful shares of all requests at one load."""

    load: float
    bound: float
    offramp: float
    full: float
    thresholds: float
    one_exit: float
    late: float
    refused: float

    def share_of_bound(self, policy: str) -> float:
        """A policy's useful goodput over the clairvoyant bound."""
        return float(getattr(self, policy)) / self.bound


def measure(package: Package, shape: str, factor: float, *, requests: int, seed: int) -> Point:
    """Every policy on the same arrivals at `factor` times the full network's capacity."""
    traces, device = Traces.of(package), Device(SECONDS_PER_MAC)
    rate = factor / float(sum(device.stages(traces.macs)))
    times = arrivals(shape, rate=rate, seconds=requests / rate, seed=seed)
    samples = np.random.default_rng(seed + 1).integers(0, traces.size, len(times))
    sent = Load(times, samples, PATIENCE_S)
    ours = Offramp(package, traces, device).serve(sent)
    last = traces.exits - 1
    return Point(
        load=factor,
        bound=clairvoyant_share(traces, samples, factor),
        offramp=ours.share_useful,
        full=serve_static(traces, device, sent, one_exit(traces, last), cut_short=False).share_useful,
        # Hindsight: at each load the static setting that turns out best.
        thresholds=_best(
            serve_static(traces, device, sent, thresholds(traces, one), cut_short=True) for one in CONFIDENCES
        ),
        one_exit=_best(
            serve_static(traces, device, sent, one_exit(traces, place), cut_short=True) for place in range(last + 1)
        ),
        late=ours.late / max(1, ours.sent),
        refused=ours.refused / max(1, ours.sent),
    )


def _best(tallies: Iterable[Tally]) -> float:
    return max(tally.share_useful for tally in tallies)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a table, or JSON."""
    given = _parser().parse_args(arguments)
    package = load(given.package)
    points = [measure(package, given.shape, factor, requests=given.requests, seed=given.seed) for factor in given.loads]
    print(json.dumps(_document(points, given)) if given.json else _table(points))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="loadtest.replay", description=__doc__)
    parser.add_argument("--package", type=Path, default=ZOO / "cifar10-early-exit", help="an early-exit package")
    parser.add_argument("--shape", choices=sorted(SHAPES), default="poisson", help="how arrivals vary over time")
    parser.add_argument("--loads", type=float, nargs="+", default=list(LOADS), help="times the full net's capacity")
    parser.add_argument("--requests", type=int, default=8000, help="mean number of requests a load")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    return parser


def _document(points: Sequence[Point], given: argparse.Namespace) -> dict[str, object]:
    return {
        "loads": [point.load for point in points],
        "share_of_bound": {policy: [round(point.share_of_bound(policy), 4) for point in points] for policy in POLICIES},
        "shape": given.shape,
        "points": [asdict(point) for point in points],
    }


def _table(points: Sequence[Point]) -> str:
    head = f"{'load':>6}{'bound':>8}" + "".join(f"{policy:>12}" for policy in POLICIES) + f"{'late':>8}{'refused':>9}"
    rows = [
        f"{point.load:>6g}{point.bound:>8.3f}"
        + "".join(f"{point.share_of_bound(policy):>12.3f}" for policy in POLICIES)
        + f"{point.late:>8.4f}{point.refused:>9.4f}"
        for point in points
    ]
    return "\n".join([head, *rows])


if __name__ == "__main__":
    main()
