"""Weights of an exported graph, back in the module that it was exported from.

So that a net can be grown on, or measured beside, a shipped package whose checkpoints are gone. Batch norms are folded
into convolutions on the way out: they come back as norms that only add the folded bias.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

PREFIX = "net."
"""What stages call the module that they export."""


@torch.no_grad()
def restore(net: nn.Module, file: Path) -> None:
    """Fill `net`, in evaluation mode from then on, with the weights of a graph of a stage that holds it as `net`.

    Raises:
        KeyError: the graph has no such weight.
    """
    graph = onnx.load(file).graph
    held = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    folded = _folded(graph, held)
    net.eval()
    normed = dict(_normed(net))
    for conv, norm in normed.items():
        weight, bias = next(folded)
        conv.weight.copy_(weight)
        norm.weight.fill_(1.0)
        norm.bias.copy_(bias)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        norm.running_mean.zero_()
        norm.running_var.fill_(1.0 - norm.eps)
    apart = {id(each) for pair in normed.items() for part in pair for each in part.parameters()}
    for name, parameter in net.named_parameters():
        if id(parameter) not in apart:
            parameter.copy_(held[PREFIX + name])


def _folded(graph: onnx.GraphProto, held: dict[str, Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Weight and bias of convolutions whose weights lost their names by folding, in the order in which they run."""
    for node in graph.node:
        if node.op_type == "Conv" and not node.input[1].startswith(PREFIX):
            yield held[node.input[1]], held[node.input[2]]


def _normed(net: nn.Module) -> Iterator[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Convolutions right before a batch norm, in the order of their definition, which is that of their running."""
    for module in net.modules():
        if isinstance(module, nn.Sequential):
            layers = list(module)
            for one, other in pairwise(layers):
                if isinstance(one, nn.Conv2d) and isinstance(other, nn.BatchNorm2d):
                    yield one, other
