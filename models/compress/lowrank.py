"""Low rank: a convolution as two, the second of 1x1, where that saves multiply-adds.

Not the weights are approximated but what they answer: of all matrices of that rank, the one whose answers are nearest
(reduced-rank regression; "generalised SVD" of Zhang et al., TPAMI 2015).
"""

from math import prod

import numpy as np
from onnx import NodeProto, helper

from models.compress.channels import Channels
from models.compress.fit import fit
from models.compress.graphs import layers
from models.compress.layer import Layer
from models.compress.prune import Work, large_layers


def factorise(work: Work, share: float) -> None:
    """Let every convolution of some size keep at most `share` of its multiply-adds, and refit all layers."""
    channels = Channels(work.now)
    large = large_layers(work.now)
    for node in layers(work.now):
        layer = Layer.of(work.now, node, channels.of(node.input[0]).count)
        rank = _rank(layer, share) if node.output[0] in large and _spatial(node, work) else 0
        if rank:
            _split(work, layer, rank)
        else:
            work.refit(layer)


def _spatial(node: NodeProto, work: Work) -> bool:
    return prod(work.now.weight(node.input[1]).shape[2:]) > 1


def _rank(layer: Layer, share: float) -> int:
    """The largest at which the pair costs at most `share` of the one."""
    rows, made = layer.matrix.shape
    return int(share * rows * made / (rows + made))


def _split(work: Work, layer: Layer, rank: int) -> None:
    """The layer keeps its place and makes `rank` channels; a 1x1 convolution behind it makes the rest of them."""
    fitted = fit(layer, work.before, work.inputs, work.kept.get(layer.makes))
    _, directions = np.linalg.eigh(fitted.matrix.T @ fitted.scatter @ fitted.matrix)
    basis = directions[:, -rank:]
    narrow = fitted.matrix @ basis
    made, between = layer.makes, f"{layer.makes}/rank"
    bias = fitted.bias(narrow @ basis.T)
    layer.set(narrow, np.zeros(rank))
    layer.node.output[0] = between
    names = [f"{made}/basis", f"{made}/basis/bias"]
    work.now.set_weight(names[0], basis.astype(np.float32)[:, :, None, None])
    work.now.set_weight(names[1], bias.astype(np.float32))
    pointwise = helper.make_node("Conv", [between, *names], [made], f"{made}/Conv", kernel_shape=[1, 1])
    work.now.insert_after(layer.node, pointwise)
