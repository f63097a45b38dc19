"""`offramp bench`: in process, without HTTP. What do stages cost over one graph, and what does the scheduler cost?"""

from __future__ import annotations

import argparse
import json
import platform
from typing import Any

from service import cores
from service.bench.scheduling import microseconds_per_walker_stage
from service.bench.staging import joinable, staged_over_whole
from service.errors import SettingsError
from service.model import find
from service.package.curves import Curve
from service.package.load import Package, load
from service.runtime.onnx import PROVIDERS
from service.settings import Settings

NAME = "bench"
HELP = "measure staged execution against the whole graph, and the scheduler's own time"
BATCHES = (1, 8, 32)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--json` for machines."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(given: argparse.Namespace, settings: Settings) -> int:
    """Print the figures of every package."""
    packages = [load(path) for path in find(settings.models)]
    if not packages:
        raise SettingsError("no packages to measure; name a folder with --models")
    figures = {package.name: _figures(package, settings) for package in packages}
    first = next((each for each in figures.values() if each["staged_over_whole"]), next(iter(figures.values())))
    report = {
        "machine": {"cores": cores.available(), "python": platform.python_version(), "device": settings.device},
        "staged_over_whole": first["staged_over_whole"],
        "scheduler_us_per_walker_stage": first["scheduler_us_per_walker_stage"],
        "models": figures,
    }
    print(json.dumps(report, indent=2) if given.json else _table(report))
    return 0


def _figures(package: Package, settings: Settings) -> dict[str, Any]:
    batches = BATCHES if joinable(package) else ()
    ratios = {batch: staged_over_whole(package, batch, settings) for batch in batches}
    curve = Curve(package.record, package.graph.full_macs, package.digest, PROVIDERS[settings.device])
    return {
        "staged_over_whole": {str(batch): round(ratio.ratio, 4) for batch, ratio in ratios.items()},
        "whole_ms": {str(batch): round(ratio.whole_s * 1e3, 4) for batch, ratio in ratios.items()},
        "staged_ms": {str(batch): round(ratio.staged_s * 1e3, 4) for batch, ratio in ratios.items()},
        "scheduler_us_per_walker_stage": round(microseconds_per_walker_stage(package), 2),
        "mean_mmacs_by_price": {f"{point.price:g}": round(point.mean_macs / 1e6, 3) for point in curve.points},
        "default": {"price": curve.default.price, "fraction_of_full": curve.default.mean_macs / curve.full_macs},
    }


def _table(report: dict[str, Any]) -> str:
    lines = []
    for name, figures in report["models"].items():
        lines.append(name)
        lines += [
            f"  batch {batch:>3}: whole {figures['whole_ms'][batch]:8.3f} ms, "
            f"staged {figures['staged_ms'][batch]:8.3f} ms, ratio {ratio:.3f}"
            for batch, ratio in figures["staged_over_whole"].items()
        ]
        lines.append(f"  scheduler: {figures['scheduler_us_per_walker_stage']:.1f} us per walker and stage")
        prices = list(figures["mean_mmacs_by_price"].items())
        shown = ", ".join(f"{price}: {mmacs:.1f}" for price, mmacs in prices[:: max(1, len(prices) // 10)])
        lines.append(f"  mean MMACs by price: {shown}")
    return "\n".join(lines)
