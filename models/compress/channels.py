"""Which tensors of a graph must keep the same channels, and which channels may go at all.

Tensors that are added, or multiplied channel by channel, or that an activation or pooling turns into each other, share
one set of channels. A set that reaches the stage's inputs or outputs, or an operator that is not known here to treat
channels apart, is fixed: other stages, or that operator, count on it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from onnx import NodeProto

from models.compress.graphs import Graph, attributes, layers

ONE_TO_ONE = frozenset(
    [
        "Relu",
        "Sigmoid",
        "Tanh",
        "HardSigmoid",
        "HardSwish",
        "LeakyRelu",
        "Elu",
        "Softplus",
        "Erf",
        "Gelu",
        "Identity",
        "Cast",
        "Clip",
        "Sqrt",
        "Exp",
        "Neg",
        "MaxPool",
        "AveragePool",
        "GlobalMaxPool",
        "GlobalAveragePool",
        "Flatten",
    ]
)
PAIRWISE = frozenset(("Add", "Mul", "Sub", "Div"))


@dataclass
class ChannelSet:
    """Tensors that share `count` channels.

    Attributes:
        fixed: none may be taken out.
        constants: weights with a number for each channel, with the axis of the channels.
    """

    count: int
    fixed: bool = False
    tensors: set[str] = field(default_factory=set)
    constants: list[tuple[str, int]] = field(default_factory=list)


class Channels:
    """The channel sets of a graph."""

    def __init__(self, graph: Graph) -> None:
        self._graph, self._shapes = graph, graph.shapes()
        self._sets: dict[str, ChannelSet] = {}
        self._mapping = {node.output[0] for node in layers(graph)}
        for name in (*graph.inputs, *graph.outputs):
            self.of(name).fixed = True
        for node in graph.nodes:
            self._read(node)

    def of(self, tensor: str) -> ChannelSet:
        """The set that a tensor belongs to."""
        if tensor not in self._sets:
            shape = self._shapes.get(tensor, ())
            known = len(shape) in (2, 4)
            self._sets[tensor] = ChannelSet(shape[1] if known else 0, fixed=not known, tensors={tensor})
        return self._sets[tensor]

    def _read(self, node: NodeProto) -> None:
        if node.output[0] in self._mapping:
            self.of(node.input[0]), self.of(node.output[0])
        elif node.op_type in ONE_TO_ONE and attributes(node).get("axis", 1) == 1:
            self._join(node.input[0], node.output[0])
        elif not _RULES.get(node.op_type, lambda *_: False)(self, node):
            for name in (*node.input, *node.output):
                if name and not self._graph.is_weight(name):
                    self.of(name).fixed = True

    def pairwise(self, node: NodeProto) -> bool:
        """Join operands that have all channels; note constants with one number a channel. False where unclear."""
        made = self.of(node.output[0])
        for name in node.input:
            if self._graph.is_weight(name):
                axis = _channel_axis(self._graph.weight(name).shape, made.count)
                if axis is None:
                    return False
                if axis >= 0:
                    made.constants.append((name, axis))
            elif self._alike(name, node.output[0]):
                self._join(name, node.output[0])
                made = self.of(node.output[0])
            else:
                return False
        return True

    def depthwise(self, node: NodeProto) -> bool:
        """A convolution of each channel by itself. False for any other that is not a layer."""
        count = self.of(node.input[0]).count
        constant = all(self._graph.is_weight(name) for name in node.input[1:])
        if not constant or attributes(node).get("group", 1) != count or self.of(node.output[0]).count != count:
            return False
        self._join(node.input[0], node.output[0])
        self.of(node.output[0]).constants += [(name, 0) for name in node.input[1:]]
        return True

    def spatial_mean(self, node: NodeProto) -> bool:
        """A mean or maximum over height and width."""
        given = attributes(node)
        axes = given.get("axes")
        if len(node.input) > 1 and self._graph.is_weight(node.input[1]):
            axes = self._graph.weight(node.input[1]).tolist()
        if axes is None or len(self._shapes.get(node.input[0], ())) != 4 or {axis % 4 for axis in axes} != {2, 3}:
            return False
        self._join(node.input[0], node.output[0])
        return True

    def _alike(self, one: str, other: str) -> bool:
        shapes = [self._shapes.get(name, ()) for name in (one, other)]
        return len(shapes[0]) == len(shapes[1]) > 1 and shapes[0][1] == shapes[1][1]

    def _join(self, one: str, other: str) -> None:
        kept, gone = self.of(one), self.of(other)
        if kept is gone:
            return
        if len(self._shapes.get(one, ())) == 2 and len(self._shapes.get(other, ())) == 4:
            kept, gone = gone, kept
        kept.fixed |= gone.fixed
        kept.tensors |= gone.tensors
        kept.constants += gone.constants
        for name in gone.tensors:
            self._sets[name] = kept


_RULES: Mapping[str, Callable[[Channels, NodeProto], bool]] = {
    **dict.fromkeys(PAIRWISE, Channels.pairwise),
    "Conv": Channels.depthwise,
    "ReduceMean": Channels.spatial_mean,
    "ReduceMax": Channels.spatial_mean,
}


def _channel_axis(shape: tuple[int, ...], count: int) -> int | None:
    """Axis of the channels in a constant operand; -1 if it has one number for all, None if that can't be told."""
    if all(size == 1 for size in shape):
        return -1
    axis = len(shape) - 3 if len(shape) >= 3 else None
    alone = axis is not None and axis >= 0 and all(size == 1 for place, size in enumerate(shape) if place != axis)
    return axis if alone and axis is not None and shape[axis] == count else None
