"""Structured pruning: whole channels go, so that the multiply-adds really fall.

Channels within a stage are taken out of the layers that make them and of those that read them. Channels that must
stay, because another stage or a residual path counts on them, may still be left unread: a convolution then reads a
selection of them (feature map sampling: He et al., ICCV 2017, 3.3). States keep their shapes in any case.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, helper

from models.compress.channels import Channels, ChannelSet
from models.compress.elimination import Elimination, block_rows, eliminate
from models.compress.fit import fit
from models.compress.graphs import Graph, layers, set_attribute
from models.compress.layer import Layer
from models.compress.walks import StageInputs

LEAST_CHANNELS = 8
"""Fewer are left alone: pictures have three."""
LEAST_SHARE = 0.02
"""Of a stage's multiply-adds: a layer below isn't worth an error."""


@dataclass
class Work:
    """A stage in the making: its graph as it was, as it is, and the output channels that layers have kept."""

    before: Graph
    now: Graph
    inputs: StageInputs
    kept: dict[str, NDArray[np.int64]] = field(default_factory=dict)

    def refit(self, layer: Layer) -> None:
        """Weights that make the most of what the layer sees now."""
        fitted = fit(layer, self.before, self.inputs, self.kept.get(layer.makes))
        layer.set(fitted.matrix, fitted.bias(fitted.matrix))


def prune(work: Work, share: float) -> None:
    """Take `share` of the channels from every tensor that a layer of some size reads, and refit all layers."""
    channels = Channels(work.now)
    worthwhile = large_layers(work.now)
    done: set[int] = set()
    for node in layers(work.now):
        read = channels.of(node.input[0])
        count = int(share * read.count)
        if node.output[0] in worthwhile and count and read.count >= LEAST_CHANNELS:
            if read.fixed:
                _sample(work, Layer.of(work.now, node, read.count), count)
                continue
            if id(read) not in done:
                done.add(id(read))
                _cut(work, channels, read, count)
        work.refit(Layer.of(work.now, node, read.count))


def large_layers(graph: Graph) -> set[str]:
    """The outputs of the convolutions that are worth the trouble."""
    macs = graph.macs()
    convs = {node.output[0] for node in layers(graph) if node.op_type == "Conv"}
    return {name for name, count in macs.items() if name in convs and count >= LEAST_SHARE * sum(macs.values())}


def _sample(work: Work, layer: Layer, count: int) -> None:
    """Let one convolution read fewer of the channels that are there."""
    fitted = fit(layer, work.before, work.inputs, work.kept.get(layer.makes))
    elimination = Elimination(fitted, layer.block)
    kept = eliminate([elimination], layer.channels, count)
    matrix = elimination.matrix(kept)
    layer.set(matrix, fitted.mean_y - fitted.mean_x[block_rows(kept, layer.block)] @ matrix)
    chosen = f"{layer.makes}/channels"
    work.now.set_weight(chosen, kept)
    work.now.insert_before(
        layer.node, helper.make_node("Gather", [layer.reads, chosen], [f"{chosen}/chosen"], f"{chosen}/Gather", axis=1)
    )
    layer.node.input[0] = f"{chosen}/chosen"


def _cut(work: Work, channels: Channels, read: ChannelSet, count: int) -> None:
    """Take channels out of everything that makes, changes or reads them."""
    readers = [Layer.of(work.now, node, read.count) for node in _touching(work.now, read, inputs=True)]
    fits = [fit(layer, work.before, work.inputs, work.kept.get(layer.makes)) for layer in readers]
    kept = eliminate(
        [Elimination(each, layer.block) for each, layer in zip(fits, readers, strict=True)], read.count, count
    )
    for layer in readers:
        layer.set(layer.matrix[block_rows(kept, layer.block)], layer.bias)
    for node in _touching(work.now, read, inputs=False):
        maker = Layer.of(work.now, node, channels.of(node.input[0]).count)
        before = work.kept.get(maker.makes, np.arange(maker.matrix.shape[1]))
        maker.set(maker.matrix[:, kept], maker.bias[kept])
        work.kept[maker.makes] = before[kept]
    for name, axis in read.constants:
        work.now.set_weight(name, np.take(work.now.weight(name), kept, axis=axis))
    for node in work.now.nodes:
        if node.op_type == "Conv" and (node.input[1], 0) in read.constants:
            set_attribute(node, "group", len(kept))
    read.count = len(kept)


def _touching(graph: Graph, read: ChannelSet, *, inputs: bool) -> Sequence[NodeProto]:
    """The layers that read a set's tensors, or those that make them."""
    return [node for node in layers(graph) if (node.input[0] if inputs else node.output[0]) in read.tensors]
