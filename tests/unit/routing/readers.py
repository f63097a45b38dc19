"""Packages of readers without files: a loop of looks, and the tables that a test gives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.package.graph import StageGraph
from service.package.load import Package
from service.package.manifest import Manifest
from service.package.record import Record
from service.routing.reading import MARKS

LAPS = 4
LOOK_MACS = 1_000_000


def package(router: str, tables: Mapping[str, NDArray[Any]], *, skims: bool = False, **parameters: Any) -> Package:
    """A reader of at most LAPS chunks and two classes."""
    names = ["read", "skim"] if skims else ["read"]
    content = {
        "format": 1,
        "name": "reader",
        "version": "1.0.0",
        "modality": "text",
        "task": "classification",
        "family": "reader",
        "description": "For tests.",
        "labels": "labels.txt",
        "laps": LAPS,
        "zeros": ["memory", "done"],
        "files": {"tokenizer.json": "0" * 64},
        "stages": [stage(name, names) for name in names],
        "router": {"name": router, "parameters": parameters},
        "calibration": {"file": "calibration.npz", "sha256": "0" * 64},
    }
    manifest = Manifest.model_validate(content)
    nothing = np.empty((0, 0), np.int64)
    record = Record(
        prices=np.empty(0),
        labels=np.empty(0, np.int16),
        predictions=nothing.astype(np.int16),
        exits=nothing.astype(np.int8),
        macs=nothing,
        routes=nothing.astype(np.uint16),
        route=nothing.astype(np.int32),
    )
    graph = StageGraph.of(manifest.stages, manifest.laps)
    return Package(Path("reader"), manifest, graph, ("no", "yes"), record, dict(tables), "")


def stage(name: str, names: list[str]) -> dict[str, Any]:
    """One look; a look in part costs a fifth."""
    glimpses = {
        "tokens": {"glimpse": "tokens", "count": 8, "chars": 50, "file": "tokenizer.json", "at": [0]},
        "chunk": {"glimpse": "chunk", "at": [0]},
        "chunks": {"glimpse": "chunks", "chars": 50},
    }
    return {
        "name": name,
        "graph": f"{name}.onnx",
        "sha256": "0" * 64,
        "macs_per_row": LOOK_MACS if name == "read" else LOOK_MACS // 5,
        "inputs": {**glimpses, "memory": "state", "done": "state"},
        "outputs": {
            "memory_next": {"state": "memory"},
            "done_next": {"state": "done"},
            **dict.fromkeys(("at", "size", "jumps", "gate"), "state"),
            "logits": "answer",
        },
        "exit": name,
        "next": names,
    }


def outputs(
    *,
    at: list[int],
    size: list[int],
    logit: list[float],
    read: list[list[int]] | None = None,
    jumps: list[list[float]] | None = None,
    gate: list[list[float]] | None = None,
) -> dict[str, NDArray[Any]]:
    """What a look tells of some rows; `logit` is that of the second class."""
    rows = len(at)
    done = np.zeros((rows, MARKS), np.float32)
    for row, chunks in enumerate(read or [[] for _ in at]):
        done[row, chunks] = 1
    return {
        "at": np.array(at, np.float32)[:, None],
        "size": np.array(size, np.float32)[:, None],
        "logits": np.stack([np.zeros(rows), logit], axis=1).astype(np.float32),
        "done_next": done,
        "jumps": np.array(jumps if jumps is not None else np.zeros((rows, 6)), np.float32),
        "gate": np.array(gate if gate is not None else np.ones((rows, 2)), np.float32),
    }


def stop_tables() -> dict[str, NDArray[Any]]:
    """Two groups of laps (1, and later) by two of what is left (1, and more); two bins of the score, cut at 0.8."""
    worth = np.array([[4.0, 1.0], [8.0, 2.0], [3.0, 0.5], [6.0, 1.5]])
    return {
        "temperature": np.array([1.0, 2.0], np.float32),
        "stop_edges": np.tile(np.array([0.5, 0.8, 1.0], np.float32), (4, 1)),
        "stop_worth": worth,
        "stop_rests": np.array([2.0], np.float32),
    }
