"""Graphs in memory, run in pieces: their intermediate tensors are large."""

from collections.abc import Iterator

import numpy as np
import onnxruntime as ort
from onnx import ModelProto

from models.export import Arrays, run

ROWS = 100


def opened(model: ModelProto, threads: int = 2) -> ort.InferenceSession:
    """A CPU session of a model."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def in_pieces(model: ModelProto, inputs: Arrays) -> Iterator[Arrays]:
    """The model's outputs for `ROWS` rows after the other."""
    session = opened(model)
    names = [port.name for port in session.get_inputs()]
    for start in range(0, len(inputs[names[0]]), ROWS):
        yield run(session, {name: inputs[name][start : start + ROWS] for name in names})


def outputs(model: ModelProto, inputs: Arrays) -> Arrays:
    """The model's outputs for all rows."""
    parts = list(in_pieces(model, inputs))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
