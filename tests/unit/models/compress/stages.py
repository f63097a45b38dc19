"""Small stages to compress: made of named nodes, with weights drawn or given."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from models.compress.walks import StageInputs
from models.export import Arrays

SIDE = 9


def conv(made: str, given: str, kernel: int = 3, **attributes: object) -> NodeProto:
    """A padded convolution with weight `<made>.w` and bias `<made>.b`."""
    pads = [kernel // 2] * 4
    return helper.make_node("Conv", [given, f"{made}.w", f"{made}.b"], [made], **({"pads": pads} | attributes))


def op(kind: str, made: str, *given: str, **attributes: object) -> NodeProto:
    return helper.make_node(kind, list(given), [made], **attributes)


def model(
    nodes: list[NodeProto], weights: Arrays, given: dict[str, list[int]], made: dict[str, list[int]]
) -> ModelProto:
    def ports(shapes: dict[str, list[int]]) -> list[object]:
        return [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", *shape]) for name, shape in shapes.items()
        ]

    graph = helper.make_graph(
        nodes,
        "stage",
        ports(given),
        ports(made),
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def drawn(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def weights(rng: np.random.Generator, **shapes: tuple[int, ...]) -> Arrays:
    """`<name>.w` of each shape, and `<name>.b`."""
    return {f"{name}.w": drawn(rng, *shape) for name, shape in shapes.items()} | {
        f"{name}.b": rng.normal(size=shape[0]).astype(np.float32) for name, shape in shapes.items()
    }


def stage(rng: np.random.Generator) -> tuple[ModelProto, Arrays]:
    """`x` [16, 9, 9] to a state `y` of that shape, by a residual path through 24 channels of its own, and `logits` [5].

    Its weights as well, for tests that want to set some: rebuild with `built`.
    """
    own = weights(rng, wide=(24, 16, 3, 3), back=(16, 24, 3, 3), head=(12, 16, 1, 1), linear=(5, 12))
    return built(own), own


def built(own: Arrays) -> ModelProto:
    nodes = [
        conv("wide", "x"),
        op("Relu", "wide.on", "wide"),
        conv("back", "wide.on"),
        op("Add", "y", "x", "back"),
        conv("head", "y", kernel=1),
        op("Sigmoid", "head.gate", "head"),
        op("Mul", "head.on", "head", "head.gate"),
        op("GlobalMaxPool", "pooled", "head.on"),
        op("Flatten", "flat", "pooled"),
        op("Gemm", "logits", "flat", "linear.w", "linear.b", transB=1),
    ]
    return model(nodes, own, {"x": [16, SIDE, SIDE]}, {"y": [16, SIDE, SIDE], "logits": [5]})


def inputs(rng: np.random.Generator, n: int = 150) -> StageInputs:
    x = rng.normal(size=(n, 16, SIDE, SIDE)).astype(np.float32)
    return StageInputs({"x": x}, {"x": x})
