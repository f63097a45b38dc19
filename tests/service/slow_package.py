"""The package `colours` with so much ballast in one stage that a test can act while a walk is under way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from tests import packages

WIDTH, ROUNDS = 1536, 64
"""A row is multiplied this often with a matrix of this width: some 50 ms on a quiet machine."""


def write(folder: Path, stage: str = packages.STAGES[0], *, rounds: int = ROUNDS) -> Path:
    """Write it, slow at that stage, into `folder / "colours"`."""
    light = onnx.load(packages.write_colours(folder / "light") / f"{stage}.onnx")
    heavy = _ballasted(light, f"logits{packages.STAGES.index(stage)}", rounds)
    return packages.write_colours(folder, graphs={stage: heavy.SerializeToString()})


def _ballasted(model: onnx.ModelProto, logits: str, rounds: int) -> onnx.ModelProto:
    """Adds nothing to the answer, slowly: the pixel rows through many identities, times 0."""
    graph = model.graph
    answer = next(node for node in graph.node if logits in node.output)
    answer.output[:] = ["light"]
    constants = {
        "spread": np.full((packages.SIDE * 3, WIDTH), 1 / WIDTH, np.float32),
        "identity": np.eye(WIDTH, dtype=np.float32),
        "flat": np.array([-1, packages.SIDE * 3], np.int64),
        "ones": np.array([1], np.int64),
        "nothing": np.array(0, np.float32),
    }
    graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in constants.items())
    steps = [helper.make_node("Reshape", ["rows", "flat"], ["flattened"])]
    steps += [helper.make_node("MatMul", ["flattened", "spread"], ["weight0_"])]
    steps += [
        helper.make_node("MatMul", [f"weight{turn}_", "identity"], [f"weight{turn + 1}_"]) for turn in range(rounds)
    ]
    steps += [
        helper.make_node("ReduceSum", [f"weight{rounds}_", "ones"], ["sum"], keepdims=1),
        helper.make_node("Mul", ["sum", "nothing"], ["zero"]),
        helper.make_node("Add", ["light", "zero"], [logits]),
    ]
    graph.node.extend(steps)
    onnx.checker.check_model(model, full_check=True)
    return model
