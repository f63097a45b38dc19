"""Multiply-adds of an ONNX graph, counted from its operators and inferred shapes.

Counted: Conv, Gemm, MatMul, the whole of what a network of ours multiplies; normalisation, activations and pooling
are not (as in the literature). Groups are honoured.
"""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import onnx
from onnx import ModelProto, NodeProto, helper, shape_inference

Shapes = Mapping[str, tuple[int, ...]]
Sizes = Mapping[str, Sequence[int]]


class UncountableGraph(ValueError):
    """A shape that the count needs could not be inferred."""


def macs_per_row(model: ModelProto, sizes: Sizes | None = None) -> int:
    """Multiply-adds for one row of the dynamic first axis.

    `sizes` gives inputs whose later axes are dynamic as well the sizes of those: `{"image": (96, 96, 3)}`.

    Raises:
        UncountableGraph: an operator's shape is unknown even with one row.
    """
    return sum(macs_by_node(model, sizes).values())


def macs_by_node(model: ModelProto, sizes: Sizes | None = None) -> dict[str, int]:
    """The same of each node that multiplies, by the name of its output.

    Raises:
        UncountableGraph: as above.
    """
    shapes = shapes_of_one_row(model, sizes)
    return {
        node.output[0]: _COUNTERS[node.op_type](node, shapes) for node in model.graph.node if node.op_type in _COUNTERS
    }


def shapes_of_one_row(model: ModelProto, sizes: Sizes | None = None) -> dict[str, tuple[int, ...]]:
    """Shapes of all tensors that can be inferred if the first axis of every input and output is 1."""
    return _shapes(_with_one_row(model, sizes or {}))


def _with_one_row(model: ModelProto, sizes: Sizes) -> ModelProto:
    """A copy whose first axis is 1 everywhere, without earlier inferences about other sizes."""
    one = onnx.ModelProto()
    one.CopyFrom(model)
    del one.graph.value_info[:]
    for value in (*one.graph.input, *one.graph.output):
        axes = value.type.tensor_type.shape.dim
        for axis, size in zip(axes, (1, *sizes.get(value.name, ())), strict=False):
            axis.Clear()
            axis.dim_value = size
    return one


def _shapes(model: ModelProto) -> dict[str, tuple[int, ...]]:
    graph = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True).graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        axes = value.type.tensor_type.shape.dim
        if all(axis.HasField("dim_value") for axis in axes):
            shapes[value.name] = tuple(axis.dim_value for axis in axes)
    return shapes


def _shape(name: str, node: NodeProto, shapes: Shapes) -> tuple[int, ...]:
    if name not in shapes:
        raise UncountableGraph(f"shape of {name!r} at {node.op_type} {node.name!r} is unknown: export with fixed axes")
    return shapes[name]


def _conv(node: NodeProto, shapes: Shapes) -> int:
    # The weight is [out, in / groups, kernel..]: its later axes are the products of one output value.
    weight = _shape(node.input[1], node, shapes)
    return prod(_shape(node.output[0], node, shapes)) * prod(weight[1:])


def _matmul(node: NodeProto, shapes: Shapes) -> int:
    return prod(_shape(node.output[0], node, shapes)) * _shape(node.input[0], node, shapes)[-1]


def _gemm(node: NodeProto, shapes: Shapes) -> int:
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    inner = _shape(node.input[0], node, shapes)[0 if attributes.get("transA", 0) else 1]
    return prod(_shape(node.output[0], node, shapes)) * inner


_COUNTERS: dict[str, Callable[[NodeProto, Shapes], int]] = {"Conv": _conv, "Gemm": _gemm, "MatMul": _matmul}
