"""A graph to edit: weights are plain arrays, however the file keeps them."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from models.compress.graphs import Graph
from models.compress.sessions import outputs
from tests.unit.models.compress.stages import SIDE, stage


def halved(model: ModelProto) -> ModelProto:
    """The same with its kernels as float16, each cast before it is read."""
    made = ModelProto()
    made.CopyFrom(model)
    for tensor in made.graph.initializer:
        if len(tensor.dims) == 4:
            half, name = numpy_helper.to_array(tensor).astype(np.float16), tensor.name
            tensor.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            made.graph.node.insert(0, helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
    return made


def test_weights_kept_in_half_precision_are_weights_all_the_same() -> None:
    rng = np.random.default_rng(0)
    model, own = stage(rng)
    graph, x = Graph(halved(model)), rng.normal(size=(3, 16, SIDE, SIDE)).astype(np.float32)
    assert graph.is_weight("wide.w")
    assert graph.weight("wide.w").dtype == np.float32
    assert np.array_equal(graph.weight("wide.w"), own["wide.w"].astype(np.float16).astype(np.float32))
    for name, given in outputs(halved(model), {"x": x}).items():
        np.testing.assert_allclose(outputs(graph.written(), {"x": x})[name], given, rtol=1e-5, atol=1e-5)
