"""Weights of a graph kept as int8 with a scale for each output: a quarter of the size, the same arithmetic.

A table of vectors may be rounded to 16 values for each (`coarse`, before training, so that the layers learn to read
it) and is kept two numbers to a byte then.

Only storage: a Cast and a Mul, which ONNX Runtime computes once when it loads the graph, give the float weights back,
so multiplications stay float32. The network has to be rounded first (`rounded`), and is exported and measured with the
rounded weights: nothing is lost between the network and its graph.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import nn

LARGE = 4096
"""Weights of fewer numbers than this stay as they are."""
STEPS = 127


COARSE = 8
"""A coarsely rounded vector is of whole steps from -8 to 7: two numbers fit into a byte."""


@torch.no_grad()
def coarse(table: nn.Embedding) -> None:
    """Round a table's vectors in place to 16 values each: an eighth of the size.

    A vector's largest numbers are cut off where that makes the sum of all its squared errors smaller.
    """
    best = torch.full_like(table.weight[:, :1], torch.inf)
    found = table.weight.clone()
    for share in np.linspace(0.4, 1.0, 31):
        scale = (table.weight.abs().amax(dim=1, keepdim=True) * share / (COARSE - 0.5)).clamp(min=1e-12)
        tried = (table.weight / scale).round().clamp(-COARSE, COARSE - 1) * scale
        error = (tried - table.weight).square().sum(dim=1, keepdim=True)
        found = torch.where(error < best, tried, found)
        best = torch.minimum(best, error)
    table.weight.copy_(found)


@torch.no_grad()
def rounded(net: nn.Module) -> nn.Module:
    """Round the weights of linear layers and embeddings in place, each output's (each entry's) on a grid of its own."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Embedding) and module.weight.numel() >= LARGE:
            if isinstance(module, nn.Embedding) and _coarse_grid(module.weight.numpy()):
                continue
            scale = (module.weight.abs().amax(dim=1, keepdim=True) / STEPS).clamp(min=1e-12)
            module.weight.copy_((module.weight / scale).round() * scale)
    return net


def shrink(file: Path) -> None:
    """Store the rounded weights of a graph as int8, in place."""
    model = onnx.load(file)
    for tensor in list(model.graph.initializer):
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and np.prod(tensor.dims) >= LARGE:
            weight = numpy_helper.to_array(tensor)
            looked_up = next((node for node in model.graph.node if _looks_up(node, tensor.name)), None)
            if looked_up and (packed := _coarse_grid(weight)):
                _replace_packed(model, tensor, looked_up, *packed)
            elif found := _grid(weight):
                _replace(model, tensor, looked_up, *found)
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)


def _grid(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """int8 steps and the scale of each row or column, if the weight lies on such a grid."""
    for axis in (1, 0):
        scale = np.maximum(np.abs(weight).max(axis=axis, keepdims=True) / STEPS, 1e-12).astype(np.float32)
        steps = np.round(weight / scale)
        if np.allclose(steps * scale, weight, rtol=1e-5, atol=0):
            return steps.astype(np.int8), scale
    return None


def _coarse_grid(weight: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]] | None:
    """Steps from -8 to 7 and the scale of each row, if `coarse` rounded the table."""
    largest = np.maximum(np.abs(weight).max(axis=1, keepdims=True), 1e-12)
    steps, scales = np.zeros(weight.shape, np.int8), np.zeros(largest.shape, np.float32)
    for count in range(1, COARSE + 1):
        tried = weight / (largest / count)
        near = np.abs(tried - np.round(tried)).max(axis=1) < 1e-3
        fits = near & (tried.max(axis=1) < COARSE - 0.5) & (scales[:, 0] == 0)
        steps[fits], scales[fits] = np.round(tried[fits]).astype(np.int8), largest[fits] / count
    return (steps, scales) if (scales > 0).all() and weight.shape[1] % 2 == 0 else None


def _looks_up(node: NodeProto, name: str) -> bool:
    return node.op_type == "Gather" and node.input[0] == name


def _replace(
    model: ModelProto,
    tensor: TensorProto,
    looked_up: NodeProto | None,
    steps: NDArray[np.int8],
    scale: NDArray[np.float32],
) -> None:
    name, graph = tensor.name, model.graph
    graph.initializer.remove(tensor)
    graph.initializer.append(numpy_helper.from_array(steps, f"{name}.steps"))
    graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
    if looked_up is None:
        made = [
            helper.make_node("Cast", [f"{name}.steps"], [f"{name}.float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{name}.float", f"{name}.scale"], [name]),
        ]
        place = 0
    else:
        # A table is looked up as int8 and only the entries found become floats: it stays small in memory as well.
        place, ids, vectors = list(graph.node).index(looked_up), looked_up.input[1], looked_up.output[0]
        graph.node.remove(looked_up)
        made = [
            helper.make_node("Gather", [f"{name}.steps", ids], [f"{vectors}.steps"], axis=0),
            helper.make_node("Gather", [f"{name}.scale", ids], [f"{vectors}.scale"], axis=0),
            helper.make_node("Cast", [f"{vectors}.steps"], [f"{vectors}.float"], to=TensorProto.FLOAT),
            helper.make_node("Mul", [f"{vectors}.float", f"{vectors}.scale"], [vectors]),
        ]
    _insert(model, place, made)


def _replace_packed(
    model: ModelProto,
    tensor: TensorProto,
    looked_up: NodeProto,
    steps: NDArray[np.int8],
    scale: NDArray[np.float32],
) -> None:
    """Two numbers to a byte: of a vector's two halves the first one's in the high bits."""
    name, graph = tensor.name, model.graph
    halves = (steps.astype(np.int16) + COARSE).astype(np.uint8).reshape(len(steps), 2, -1)
    graph.initializer.remove(tensor)
    graph.initializer.append(numpy_helper.from_array(halves[:, 0] * np.uint8(16) + halves[:, 1], f"{name}.packed"))
    graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
    for constant, value in (("sixteen", 16), ("middle", COARSE)):
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.float32), f"{name}.{constant}"))
    place, ids, out = list(graph.node).index(looked_up), looked_up.input[1], looked_up.output[0]
    graph.node.remove(looked_up)
    made = [
        helper.make_node("Gather", [f"{name}.packed", ids], [f"{out}.packed"], axis=0),
        helper.make_node("Gather", [f"{name}.scale", ids], [f"{out}.scale"], axis=0),
        helper.make_node("Cast", [f"{out}.packed"], [f"{out}.bytes"], to=TensorProto.FLOAT),
        helper.make_node("Div", [f"{out}.bytes", f"{name}.sixteen"], [f"{out}.shifted"]),
        helper.make_node("Floor", [f"{out}.shifted"], [f"{out}.high"]),
        helper.make_node("Mul", [f"{out}.high", f"{name}.sixteen"], [f"{out}.above"]),
        helper.make_node("Sub", [f"{out}.bytes", f"{out}.above"], [f"{out}.low"]),
        helper.make_node("Concat", [f"{out}.high", f"{out}.low"], [f"{out}.joined"], axis=-1),
        helper.make_node("Sub", [f"{out}.joined", f"{name}.middle"], [f"{out}.steps"]),
        helper.make_node("Mul", [f"{out}.steps", f"{out}.scale"], [out]),
    ]
    _insert(model, place, made)


def _insert(model: ModelProto, place: int, nodes: Sequence[NodeProto]) -> None:
    """Put nodes into the graph, in their order, from a place on."""
    for offset, node in enumerate(nodes):
        model.graph.node.insert(place + offset, node)
