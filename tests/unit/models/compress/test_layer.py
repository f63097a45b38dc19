"""A layer as a matrix gives what ONNX Runtime gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper

from models.compress.graphs import Graph, layers
from models.compress.layer import Layer
from models.compress.sessions import outputs
from tests.unit.models.compress.stages import conv, model, weights

EVERYWHERE = np.linspace(0, 1, 200, endpoint=False)


@pytest.mark.parametrize(
    "attributes",
    [{}, {"strides": [2, 2]}, {"dilations": [2, 2]}, {"pads": [0, 1, 2, 0], "strides": [1, 2]}, {"pads": [0, 0, 0, 0]}],
)
def test_convolution_is_patches_times_matrix(attributes: dict[str, Any]) -> None:
    rng = np.random.default_rng(0)
    node = conv("y", "x", **attributes)
    shape = outputs_shape(attributes)
    graph = Graph(model([node], weights(rng, y=(6, 4, 3, 3)), {"x": [4, 9, 9]}, {"y": [6, *shape]}))
    [found] = layers(graph)
    layer = Layer.of(graph, found, 0)
    x = rng.normal(size=(3, 4, 9, 9)).astype(np.float32)
    wanted = layer.results(outputs(graph.written(), {"x": x})["y"], EVERYWHERE)
    assert np.allclose(layer.patches(x, EVERYWHERE) @ layer.matrix + layer.bias, wanted, atol=1e-5)
    assert (layer.channels, layer.block) == (4, 9)


def outputs_shape(attributes: dict[str, Any]) -> list[int]:
    pads, strides, dilations = (
        attributes.get(name, default)
        for name, default in [("pads", [1] * 4), ("strides", [1, 1]), ("dilations", [1, 1])]
    )
    return [(9 + pads[axis] + pads[axis + 2] - 2 * dilations[axis] - 1) // strides[axis] + 1 for axis in (0, 1)]


@pytest.mark.parametrize("transposed", [0, 1])
def test_what_is_set_is_what_runs(transposed: int) -> None:
    rng = np.random.default_rng(1)
    node = helper.make_node("Gemm", ["x", "y.w", "y.b"], ["y"], transB=transposed)
    own = {"y.w": np.zeros((5, 8) if transposed else (8, 5), np.float32), "y.b": np.zeros(5, np.float32)}
    graph = Graph(model([node], own, {"x": [8]}, {"y": [5]}))
    layer = Layer.of(graph, next(layers(graph)), channels=4)
    matrix, bias = rng.normal(size=(8, 5)), rng.normal(size=5)
    layer.set(matrix, bias)
    x = rng.normal(size=(3, 8)).astype(np.float32)
    assert np.allclose(outputs(graph.written(), {"x": x})["y"], x @ matrix + bias, atol=1e-5)
    assert layer.block == 2
