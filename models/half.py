"""Weights kept as float16 in a graph's file: half the size, and computed in float32 after one Cast at load.

Round the network's weights first (`round_weights`), so that the graph and the network compute the same.
"""

import numpy as np
import onnx
import torch
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import nn

LEAST = 1024
"""Numbers that a tensor has at least: smaller ones aren't worth a node."""


@torch.no_grad()
def round_weights(net: nn.Module) -> nn.Module:
    """Round every float32 parameter that `store_half` will store as float16; in place."""
    for weight in net.parameters():
        if weight.numel() >= LEAST:
            weight.copy_(weight.half().float())
    return net


def store_half(model: ModelProto) -> ModelProto:
    """Store large float32 initialisers as float16, each followed by a Cast; in place.

    Raises:
        ValueError: a value that float16 can't hold.
    """
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < LEAST:
            continue
        with np.errstate(over="ignore"):
            half = numpy_helper.to_array(tensor).astype(np.float16)
        if not np.isfinite(half).all():
            raise ValueError(f"{tensor.name!r} has values beyond float16")
        name, stored = tensor.name, f"{tensor.name}.half"
        tensor.CopyFrom(numpy_helper.from_array(half, stored))
        casts.append(helper.make_node("Cast", [stored], [name], to=TensorProto.FLOAT))
    for place, node in enumerate(casts):
        model.graph.node.insert(place, node)
    onnx.checker.check_model(model, full_check=True)
    return model
