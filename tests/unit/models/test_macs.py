"""Counting of multiply-adds, against cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from models.macs import UncountableGraph, macs_per_row

Shape = list[int | str]


def graph(node: NodeProto, given: Shape, made: Shape, weight: tuple[int, ...]) -> ModelProto:
    """One operator from `x` to `y` with a weight `w`."""
    return helper.make_model(
        helper.make_graph(
            [node],
            "one",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, given)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, made)],
            [numpy_helper.from_array(np.zeros(weight, np.float32), "w")],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
    )


def test_convolution_with_padding() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    model = graph(node, ["rows", 3, 8, 8], ["rows", 16, 8, 8], (16, 3, 3, 3))
    assert macs_per_row(model) == 16 * 8 * 8 * 3 * 3 * 3


def test_strided_convolution_counts_its_outputs() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], strides=[2, 2])
    model = graph(node, ["rows", 4, 15, 15], ["rows", 8, 7, 7], (8, 4, 3, 3))
    assert macs_per_row(model) == 8 * 7 * 7 * 4 * 3 * 3


def test_groups_divide_the_work() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], group=4)
    model = graph(node, ["rows", 8, 5, 5], ["rows", 8, 5, 5], (8, 2, 1, 1))
    assert macs_per_row(model) == 8 * 5 * 5 * 2


@pytest.mark.parametrize(("trans_b", "weight"), [(0, (64, 10)), (1, (10, 64))])
def test_gemm_either_way_round(trans_b: int, weight: tuple[int, int]) -> None:
    node = helper.make_node("Gemm", ["x", "w"], ["y"], transB=trans_b)
    assert macs_per_row(graph(node, ["rows", 64], ["rows", 10], weight)) == 640


def test_matmul_of_more_axes() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    assert macs_per_row(graph(node, ["rows", 7, 32], ["rows", 7, 16], (32, 16))) == 7 * 32 * 16


def test_a_shape_that_stays_open_is_refused() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    with pytest.raises(UncountableGraph, match="'y' at MatMul"):
        macs_per_row(graph(node, ["rows", "tokens", 32], ["rows", "tokens", 16], (32, 16)))


def test_counting_leaves_the_model_as_it_was() -> None:
    model = graph(helper.make_node("MatMul", ["x", "w"], ["y"]), ["rows", 4], ["rows", 2], (4, 2))
    before = model.SerializeToString()
    macs_per_row(model)
    assert model.SerializeToString() == before


def test_sizes_of_pictures_that_are_left_open_are_told() -> None:
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    model = graph(node, ["rows", 3, "height", "width"], ["rows", 16, "height", "width"], (16, 3, 3, 3))
    model.graph.output[0].type.tensor_type.shape.ClearField("dim")
    for _ in range(4):
        model.graph.output[0].type.tensor_type.shape.dim.add()
    assert macs_per_row(model, {"x": (3, 8, 6)}) == 16 * 8 * 6 * 3 * 3 * 3
