"""The trained network of a shipped package as torch modules again, so that others can be grown on it."""

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn

from models.nets.fold import folded
from models.nets.multi_exit import MultiExitNet, Widths, build, without_exit

EARLY_EXIT = Path(__file__).parents[1] / "zoo" / "cifar10-early-exit"
JOINED = "block2"
"""The stage whose exit is trained but not shipped (models/recipes/cifar10_early_exit.py)."""


def early_exit_net(folder: Path = EARLY_EXIT, *, classes: int = 10) -> MultiExitNet:
    """The network of cifar10-early-exit, in evaluation mode.

    Its norms are folded into plain convolutions with biases, as exported. To be trained on it needs low learning rates:
    nothing rescales its maps any more.

    Raises:
        ValueError: the package's graphs aren't of that network.
    """
    net = folded(without_exit(build(Widths(), classes=classes, early_exits=True), JOINED))
    assert isinstance(net, MultiExitNet)
    for stage in net.chain():
        _fill(stage, onnx.load(folder / f"{stage.name}.onnx"))
    return net


@torch.no_grad()
def _fill(stage: nn.Module, graph: onnx.ModelProto) -> None:
    """Copy a graph's weights into the stage that it was exported from: the names are the same but for a prefix."""
    stored = {
        tensor.name.removeprefix("stage."): torch.from_numpy(numpy_helper.to_array(tensor).copy())
        for tensor in graph.graph.initializer
    }
    own = dict(stage.named_parameters()) | dict(stage.named_buffers())
    for name, tensor in stored.items():
        if name not in own or own[name].shape != tensor.shape:
            raise ValueError(f"the network has no {name} of shape {list(tensor.shape)}")
        own[name].copy_(tensor)
