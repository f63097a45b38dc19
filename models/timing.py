"""Measured time of each stage of a package: batch 1, one thread, ONNX Runtime on the CPU.

    python -m models.timing PACKAGE FILE.json

writes the milliseconds of each stage. Run it in a quiet minute: other work on the machine shows in the figures.
"""

import argparse
import json
import platform
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime as ort

from models.export import Arrays, run, session
from service.package.load import Package, load

ROUNDS = 300
WARM_ROUNDS = 30


def stage_ms(package: Package, rounds: int = ROUNDS, rows: int = 1) -> dict[str, float]:
    """Median milliseconds of each stage, by name.

    Each round runs every stage once in walking order, as a walk would: a stage finds the caches as the others left
    them, and a slow moment of the machine falls on all of them.
    """
    graphs = [session(package.path / stage.graph) for stage in package.manifest.stages]
    taken = np.array([_round(graphs, glimpses(package, rows)) for _ in range(WARM_ROUNDS + rounds)])
    medians = np.median(taken[WARM_ROUNDS:], axis=0) * 1e3
    return dict(zip(package.graph.names, (float(ms) for ms in medians), strict=True))


def glimpses(package: Package, rows: int) -> Arrays:
    """Noise in the place of what the first stage asks for."""
    rng = np.random.default_rng(0)
    asked = package.manifest.stages[0].glimpses
    return {
        name: rng.integers(0, 256, (rows, spec.height, spec.width, 3), dtype=np.uint8) for name, spec in asked.items()
    }


def read(file: Path) -> dict[str, float]:
    """The stages' milliseconds from a file that `main` wrote."""
    return {str(name): float(ms) for name, ms in json.loads(file.read_text())["stage_ms"].items()}


def _round(graphs: Sequence[ort.InferenceSession], state: Arrays) -> list[float]:
    """Seconds of every stage; each overwrites the states that it makes."""
    taken = []
    for graph in graphs:
        start = perf_counter()
        made = run(graph, state)
        taken.append(perf_counter() - start)
        state |= made
    return taken


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m models.timing")
    parser.add_argument("package", type=Path, help="folder of the package")
    parser.add_argument("file", type=Path, help="JSON to write")
    args = parser.parse_args(arguments)
    measured = stage_ms(load(args.package))
    machine = f"{platform.machine()}, onnxruntime {ort.__version__}, 1 thread, batch 1, median of {ROUNDS}"
    args.file.write_text(json.dumps({"machine": machine, "stage_ms": measured}, indent=1))
    print(*(f"{name}: {ms:.3f} ms" for name, ms in measured.items()), sep="\n")


if __name__ == "__main__":
    main()
