"""The figures of docs/compression.md: a package compressed in several ways, before and after it is calibrated again.

    python -m models.compress.study [--phase PHASE] [--package NAME] [--work DIR] [--page FILE]

Phases: make (packages into the work folder; those that are there are kept), measure (on devtest), time (in a quiet
minute), write (the page's tables); without one, all of them run in this order.
"""

import argparse
import json
import platform
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.calibration.traverse import Stages, Traversal, traverse
from models.card import percent, table
from models.compress.commands import named
from models.compress.options import Options
from models.compress.package import compress
from models.data import cifar10
from models.data.cifar10 import ImageSet
from models.findings import Share, default_place
from models.timing import stage_ms
from service.core import FULL
from service.package.load import Package, load
from service.package.manifest import DEFAULT_AGREEMENT, FILE
from service.routing.base import build

VARIANTS = (
    Options(quantize="int8"),
    Options(low_rank=0.75),
    Options(low_rank=0.5),
    Options(prune=0.25),
    Options(prune=0.5),
    Options(prune=0.25, low_rank=0.75, quantize="int8"),
    Options(prune=0.5, low_rank=0.5, quantize="int8"),
)
PASSES, ROUNDS = 7, 40
BEGIN, END = "<!-- begin: models.compress.study -->\n", "<!-- end -->\n"
Figures = dict[str, Any]


def variants(package: Package, work: Path) -> dict[str, Path]:
    """Folders of the package as it is, then of the compressed ones, by name."""
    names = [f"{package.name}-{options.suffix}" for options in VARIANTS]
    return {package.name: package.path} | {name: work / name for name in names}


def make(package: Package, work: Path, _: Path) -> None:
    """Compress the package in every way that isn't there yet."""
    for options in VARIANTS:
        name = f"{package.name}-{options.suffix}"
        if not (work / name / FILE).exists():
            print(name, flush=True)
            # Under another name until it is whole: a run that is stopped must not leave what looks like a package.
            compress(package, options, work / f"{name}.new", name)
            (work / f"{name}.new").replace(work / name)


def measure(package: Package, work: Path, _: Path) -> None:
    """What each variant answers on devtest: by its own calibration, and by the one that the package had before."""
    file = work / "measured.json"
    found: dict[str, Figures] = json.loads(file.read_text()) if file.exists() else {}
    data = cifar10.load("devtest")
    for name, folder in variants(package, work).items():
        variant = load(folder)
        if found.get(name, {}).get("sha256") != variant.digest:
            found[name] = _measured(variant, package, data)
            file.write_text(json.dumps(found, indent=1))
            print(name, found[name], flush=True)


def time(package: Package, work: Path, _: Path) -> None:
    """Milliseconds of every stage, all variants in turns: a slow moment of the machine falls on all of them."""
    loaded = {name: load(folder) for name, folder in variants(package, work).items()}
    passes = [{name: list(stage_ms(each, ROUNDS).values()) for name, each in loaded.items()} for _ in range(PASSES)]
    medians = {name: np.median([each[name] for each in passes], axis=0).tolist() for name in loaded}
    (work / "ms.json").write_text(json.dumps(medians, indent=1))
    machine = f"{platform.machine()}, onnxruntime {ort.__version__}, one thread"
    (work / "machine.json").write_text(json.dumps(machine))


def write(package: Package, work: Path, page: Path) -> None:
    """Put the tables into the page."""
    known, machine = (json.loads((work / f"{name}.json").read_text()) for name in ("measured", "machine"))
    measured = {name: known[name] for name in variants(package, work)}
    ms = json.loads((work / "ms.json").read_text())
    named = {name: "as it is" if name == package.name else name.removeprefix(f"{package.name}-") for name in measured}
    after = [[named[name], *_after(figures, ms[name])] for name, figures in measured.items()]
    before = [[named[name], *_before(figures)] for name, figures in measured.items() if name != package.name]
    filled = f"{table(HEAD_AFTER, after)}\n\n{MACHINE.format(machine)}\n\n{BEFORE}\n\n{table(HEAD_BEFORE, before)}\n"
    above, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{above}{BEGIN}{filled}{END}{rest.partition(END)[2]}")


HEAD_AFTER = [
    "options",
    "graphs, MB",
    "full walk: MMACs",
    "ms",
    "accuracy % (95 %)",
    "default: MMACs",
    "ms",
    "accuracy %",
    "agreement %",
]
HEAD_BEFORE = [
    "options",
    "MMACs",
    "promised accuracy %",
    "accuracy %",
    "promised agreement %",
    "agreement %",
]
MACHINE = "Measured on {}; ms: the stages' own time, batch 1, medians with all variants in turns."
BEFORE = """### With the old calibration
The same graphs walked by the calibration file of the package as it is, at its default price."""


def _measured(variant: Package, package: Package, data: ImageSet) -> Figures:
    images = dict.fromkeys(package.manifest.stages[0].glimpses, data.images)
    default = default_price(variant)
    own = _walked(variant, variant, images, [FULL, default])
    full = own.predictions[0]
    return {
        "sha256": variant.digest,
        "bytes": sum((variant.path / stage.graph).stat().st_size for stage in variant.manifest.stages),
        "price": default,
        "full": _point(own, 0, data.labels, full, variant),
        "default": _point(own, 1, data.labels, full, variant),
        "before": _point(_walked(variant, package, images, [default_price(package)]), 0, data.labels, full, variant),
    }


def default_price(package: Package) -> float:
    """The price of requests without a budget."""
    return float(package.record.prices[default_place(package)])


def _walked(
    graphs: Package, calibrated: Package, images: Mapping[str, NDArray[Any]], prices: Sequence[float]
) -> Traversal:
    """Walks through one package's graphs by another's router."""
    sessions = Stages.of(graphs.manifest, graphs.path).sessions
    stages = Stages(calibrated.manifest, calibrated.graph, sessions)
    return traverse(stages, build(calibrated), images, np.array(prices))


def _point(
    walked: Traversal, price: int, labels: NDArray[np.int64], full: NDArray[np.int16], graphs: Package
) -> Figures:
    ran = walked.routes[walked.route[price]].astype(np.float64)
    answers = walked.predictions[price]
    return {
        "right": int((answers == labels).sum()),
        "of": len(labels),
        "agrees": float((answers == full).mean()),
        "promised": float(walked.scores[price].mean()),
        "mmacs": float((ran @ np.array(graphs.graph.macs)).mean() / 1e6),
        "ran": ran.mean(axis=0).tolist(),
    }


def _after(figures: Figures, ms: Sequence[float]) -> list[str]:
    """A row of the first table; `ms` of each stage."""
    full, default = figures["full"], figures["default"]
    return [
        f"{figures['bytes'] / 1e6:.1f}",
        f"{full['mmacs']:.1f}",
        f"{np.dot(full['ran'], ms):.2f}",
        percent(Share(full["right"], full["of"])),
        f"{default['mmacs']:.1f}",
        f"{np.dot(default['ran'], ms):.2f}",
        f"{default['right'] / default['of'] * 100:.2f}",
        f"{default['agrees'] * 100:.2f}",
    ]


def _before(figures: Figures) -> list[str]:
    """A row of the second: what the old tables expect and the old certificate promises, and what is true."""
    point = figures["before"]
    return [
        f"{point['mmacs']:.1f}",
        f"{point['promised'] * 100:.2f}",
        f"{point['right'] / point['of'] * 100:.2f}",
        f">= {DEFAULT_AGREEMENT * 100:.0f}",
        f"{point['agrees'] * 100:.2f}",
    ]


PHASES: dict[str, Callable[[Package, Path, Path], None]] = {
    "make": make,
    "measure": measure,
    "time": time,
    "write": write,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.compress.study")
    parser.add_argument("--phase", choices=PHASES, help="only this one; what it needs must have run")
    parser.add_argument("--package", default="cifar10-early-exit", help="its name in the zoo, or its folder")
    parser.add_argument("--work", type=Path, default=Path("build/compression"), help="where the variants are made")
    parser.add_argument("--page", type=Path, default=Path("docs/compression.md"))
    args = parser.parse_args(arguments)
    package = load(named(args.package))
    for name, phase in PHASES.items():
        if args.phase in (None, name):
            phase(package, args.work, args.page)


if __name__ == "__main__":
    main()
