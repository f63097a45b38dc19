"""A package small enough to be made in a test: three stages and exits that tell dark pictures from bright ones.

Every stage answers the same, so that a test knows the right label; only the MACs written in the manifest and the
calibration record differ from exit to exit. The record is made up: exit k disagrees with the full network on a known
share of samples, so that certificates can be worked out by hand.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import yaml
from onnx import TensorProto, helper, numpy_helper

SIDE = 8
LABELS = ("dark", "bright")
MACS = (1_000_000, 2_000_000, 4_000_000)
SAMPLES = 6_000
DISAGREEING = (300, 30, 0)
"""How many samples each exit answers unlike the last one."""


def write(folder: Path, name: str = "tiny") -> Path:
    """Write the package into `folder / name`."""
    path = folder / name
    path.mkdir(parents=True)
    (path / "labels.txt").write_text("\n".join(LABELS) + "\n")
    (path / "README.md").write_text("# tiny\n\nMade by tests/tiny_package.py.\n")
    np.savez(path / "calibration.npz", allow_pickle=False, **_calibration())
    stages = [_stage(path, place) for place in range(len(MACS))]
    manifest = {
        "format": 1,
        "name": name,
        "version": "1.0.0",
        "modality": "image",
        "task": "classification",
        "family": "early-exit",
        "description": "Tells dark pictures from bright ones.",
        "labels": "labels.txt",
        "stages": stages,
        "router": {"name": "early-exit"},
        "calibration": {"file": "calibration.npz", "sha256": _digest(path / "calibration.npz")},
    }
    (path / "package.yaml").write_text(yaml.safe_dump(manifest, sort_keys=False))
    return path


def _stage(path: Path, place: int) -> dict[str, Any]:
    """Write one stage's graph; returns its entry in the manifest."""
    file = path / f"stage{place}.onnx"
    onnx.save(_first() if place == 0 else _later(place), file)
    glimpse = {"glimpse": "image", "height": SIDE, "width": SIDE}
    return {
        "name": f"stage{place}",
        "graph": file.name,
        "sha256": _digest(file),
        "macs_per_row": MACS[place],
        "inputs": {"image": glimpse} if place == 0 else {f"state{place - 1}": "state"},
        "outputs": {f"state{place}": "state", f"logits{place}": "answer"},
        "exit": f"exit{place}",
        "next": [f"stage{place + 1}"] if place + 1 < len(MACS) else [],
    }


def _first() -> onnx.ModelProto:
    """Mean brightness of the picture as state: float [n, 1]."""
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "axis"], ["state0"]),
        helper.make_node("Gemm", ["state0", "weight", "bias"], ["logits0"]),
    ]
    picture = helper.make_tensor_value_info("image", TensorProto.UINT8, ["n", SIDE, SIDE, 3])
    return _model(nodes, picture, 0, numpy_helper.from_array(np.array([1], np.int64), "axis"))


def _later(place: int) -> onnx.ModelProto:
    """Hands the state on and answers from it."""
    before = f"state{place - 1}"
    nodes = [
        helper.make_node("Identity", [before], [f"state{place}"]),
        helper.make_node("Gemm", [before, "weight", "bias"], [f"logits{place}"]),
    ]
    return _model(nodes, helper.make_tensor_value_info(before, TensorProto.FLOAT, ["n", 1]), place)


def _model(nodes: list[Any], given: Any, place: int, *constants: Any) -> onnx.ModelProto:
    """The nodes as a graph. Opset and IR are old ones, that every ONNX Runtime in our range reads."""
    weight = numpy_helper.from_array(np.array([[-0.02, 0.02]], np.float32), "weight")
    bias = numpy_helper.from_array(np.array([2.55, -2.55], np.float32), "bias")
    made = [
        helper.make_tensor_value_info(f"state{place}", TensorProto.FLOAT, ["n", 1]),
        helper.make_tensor_value_info(f"logits{place}", TensorProto.FLOAT, ["n", len(LABELS)]),
    ]
    graph = helper.make_graph(nodes, f"stage{place}", [given], made, [weight, bias, *constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _calibration() -> dict[str, Any]:
    """The record and the router's tables: at price 0 exit 1 is taken, below it the last, above it the first."""
    prices = np.array([-np.inf, 0.0, np.inf])
    exits = np.repeat(np.array([[2], [1], [0]], np.int8), SAMPLES, axis=1)
    labels = np.arange(SAMPLES, dtype=np.int16) % 2
    predictions = np.stack([np.where(np.arange(SAMPLES) < DISAGREEING[e], 1 - labels, labels) for e in (2, 1, 0)])
    spent = np.cumsum(MACS)
    return {
        "prices": prices,
        "labels": labels,
        "predictions": predictions.astype(np.int16),
        "exits": exits,
        "macs": spent[exits].astype(np.int64),
        "temperature": np.ones(3, np.float32),
        "gain_edges": np.tile(np.array([0.5, 0.75, 1.0], np.float32), (2, 1)),
        "gain": np.array([[[0, 0], [0.045, 0.045], [0.05, 0.05]], [[0, 0], [0, 0], [0, 0]]], np.float32),
        "exit_macs": spent.astype(np.int64),
    }


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()
