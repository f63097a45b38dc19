"""Weights of a graph kept as int8 with a scale for each output: a quarter of the size, the same arithmetic.

Only storage: a Cast and a Mul, which ONNX Runtime computes once when it loads the graph, give the float weights back,
so multiplications stay float32. The network has to be rounded first (`rounded`), and is exported and measured with the
rounded weights: nothing is lost between the network and its graph.
"""

from pathlib import Path

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn

LARGE = 4096
"""Weights of fewer numbers than this stay as they are."""
STEPS = 127


@torch.no_grad()
def rounded(net: nn.Module) -> nn.Module:
    """Round the weights of linear layers and embeddings in place, each output's (each entry's) on a grid of its own."""
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Embedding) and module.weight.numel() >= LARGE:
            scale = (module.weight.abs().amax(dim=1, keepdim=True) / STEPS).clamp(min=1e-12)
            module.weight.copy_((module.weight / scale).round() * scale)
    return net


def shrink(file: Path) -> None:
    """Store the rounded weights of a graph as int8, in place."""
    model = onnx.load(file)
    for tensor in list(model.graph.initializer):
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2 and np.prod(tensor.dims) >= LARGE:
            found = _grid(numpy_helper.to_array(tensor))
            if found:
                _replace(model, tensor, *found)
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


def _replace(model: ModelProto, tensor: TensorProto, steps: NDArray[np.int8], scale: NDArray[np.float32]) -> None:
    name, graph = tensor.name, model.graph
    graph.initializer.remove(tensor)
    graph.initializer.append(numpy_helper.from_array(steps, f"{name}.steps"))
    graph.initializer.append(numpy_helper.from_array(scale, f"{name}.scale"))
    looked_up = next((node for node in graph.node if node.op_type == "Gather" and node.input[0] == name), None)
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
    for offset, node in enumerate(made):
        graph.node.insert(place + offset, node)
