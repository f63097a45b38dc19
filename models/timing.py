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
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.export import Arrays, run, session
from service.package.load import Package, load
from service.package.stage import Stage

ROUNDS = 300
WARM_ROUNDS = 30


def stage_ms(package: Package, rounds: int = ROUNDS, rows: int = 1) -> dict[str, float]:
    """Median milliseconds of each stage, by name.

    Each round runs every stage once in walking order, as a walk would: a stage finds the caches as the others left
    them, and a slow moment of the machine falls on all of them.
    """
    graphs = [session(package.path / stage.graph) for stage in package.manifest.stages]
    taken = np.array([_round(package, graphs, rows) for _ in range(WARM_ROUNDS + rounds)])
    medians = np.median(taken[WARM_ROUNDS:], axis=0) * 1e3
    return {
        name: float(medians[stage]) for name, stage in zip(package.graph.names, package.graph.stage_of, strict=True)
    }


def glimpses(stage: Stage, rows: int) -> Arrays:
    """Noise in the place of what a stage asks for, by graph input."""
    rng = np.random.default_rng(0)
    # Up to 255 whatever the type: every vocabulary has that many tokens.
    return {name: rng.integers(0, 256, (rows, *spec.shape)).astype(spec.dtype) for name, spec in stage.glimpses.items()}


def read(file: Path) -> dict[str, float]:
    """The stages' milliseconds from a file that `main` wrote."""
    return {str(name): float(ms) for name, ms in json.loads(file.read_text())["stage_ms"].items()}


def _round(package: Package, graphs: Sequence[ort.InferenceSession], rows: int) -> list[float]:
    """Seconds of every stage; each overwrites the states that it makes."""
    taken, state = [], dict[str, NDArray[Any]]()
    for stage, graph in zip(package.manifest.stages, graphs, strict=True):
        given = _given(stage, graph, state, rows)
        start = perf_counter()
        made = run(graph, given)
        taken.append(perf_counter() - start)
        state |= {name: made[port] for port, name in stage.writes.items()}
    return taken


def _given(stage: Stage, graph: ort.InferenceSession, state: Arrays, rows: int) -> Arrays:
    """What a stage reads; zeros where no stage before has made it."""
    shapes = {port.name: (rows, *port.shape[1:]) for port in graph.get_inputs()}
    made = {port: state[name] for port, name in stage.reads.items() if name in state}
    blank = {port: np.zeros(shapes[port], np.float32) for port in (*stage.reads, *stage.reads_rows)}
    return {**blank, **made, **glimpses(stage, rows)}


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
