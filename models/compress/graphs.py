"""An ONNX graph to look up and edit: weights by name, who makes a tensor, who reads it, the multiply-adds of a node."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from models.export import Arrays
from models.macs import macs_by_node, shapes_of_one_row

Weights = NDArray[np.float32]


class Graph:
    """A copy of a stage's graph. Each weight has one reader, so that changing it changes nothing else."""

    def __init__(self, model: ModelProto) -> None:
        self.model = ModelProto()
        self.model.CopyFrom(model)
        self._weights: Arrays = {
            tensor.name: numpy_helper.to_array(tensor).copy() for tensor in self.model.graph.initializer
        }
        self._widen()
        self._own_weights()

    def _widen(self) -> None:
        """Weights that are kept as float16 become what they are cast to: no pass needs to know of them."""
        for node in self.nodes:
            if node.op_type == "Cast" and node.input[0] in self._weights:
                kind = helper.tensor_dtype_to_np_dtype(node.attribute[0].i)
                self._weights[node.output[0]] = self._weights[node.input[0]].astype(kind)
                self.model.graph.node.remove(node)

    @property
    def nodes(self) -> list[NodeProto]:
        """In topological order."""
        return list(self.model.graph.node)

    @property
    def inputs(self) -> list[str]:
        """Names of the graph's inputs."""
        return [port.name for port in self.model.graph.input]

    @property
    def outputs(self) -> list[str]:
        """Names of the graph's outputs."""
        return [port.name for port in self.model.graph.output]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of all tensors, for one row."""
        return shapes_of_one_row(self.written())

    def macs(self) -> dict[str, int]:
        """Multiply-adds of each node that has any, by its first output."""
        return macs_by_node(self.written())

    def readers(self, tensor: str) -> list[NodeProto]:
        """The nodes that read a tensor."""
        return [node for node in self.nodes if tensor in node.input]

    def is_weight(self, tensor: str) -> bool:
        """Whether a tensor is a constant of the graph."""
        return tensor in self._weights

    def weight(self, tensor: str) -> NDArray[Any]:
        """A constant."""
        return self._weights[tensor]

    def set_weight(self, tensor: str, value: NDArray[Any]) -> None:
        """Replace or add a constant."""
        self._weights[tensor] = value

    def insert_before(self, node: NodeProto, added: NodeProto) -> None:
        """Put a node directly before another."""
        self.model.graph.node.insert(self.nodes.index(node), added)

    def insert_after(self, node: NodeProto, added: NodeProto) -> None:
        """Put a node directly behind another."""
        self.model.graph.node.insert(self.nodes.index(node) + 1, added)

    def written(self) -> ModelProto:
        """The model as it stands, without what was inferred before it was edited."""
        made = ModelProto()
        made.CopyFrom(self.model)
        del made.graph.initializer[:], made.graph.value_info[:]
        read = {name for node in made.graph.node for name in node.input}
        made.graph.initializer.extend(
            numpy_helper.from_array(np.ascontiguousarray(value), name)
            for name, value in self._weights.items()
            if name in read
        )
        return made

    def upto(self, tensor: str) -> ModelProto:
        """The part of the model that makes one tensor, which is its output."""
        made = self.written()
        wanted, kept = {tensor}, []
        for node in reversed(made.graph.node):
            if wanted & set(node.output):
                wanted |= set(node.input)
                kept.append(node)
        given = [port for port in made.graph.input if port.name in wanted]
        del made.graph.node[:], made.graph.output[:], made.graph.input[:]
        made.graph.node.extend(reversed(kept))
        made.graph.input.extend(given)
        made.graph.output.append(helper.make_tensor_value_info(tensor, TensorProto.FLOAT, None))
        return made

    def _own_weights(self) -> None:
        """Give every reader a copy of its own."""
        seen: set[str] = set()
        for node in self.nodes:
            for place, name in enumerate(node.input):
                if name in self._weights and name in seen:
                    node.input[place] = f"{name}/{node.output[0]}/{place}"
                    self._weights[node.input[place]] = self._weights[name].copy()
                seen.add(name)


def attributes(node: NodeProto) -> Mapping[str, Any]:
    """A node's attributes as Python values."""
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}


def set_attribute(node: NodeProto, name: str, value: Any) -> None:
    """Replace or add an attribute."""
    for attribute in [each for each in node.attribute if each.name == name]:
        node.attribute.remove(attribute)
    node.attribute.append(helper.make_attribute(name, value))


def checked(graph: Graph) -> ModelProto:
    """The finished model, by ONNX's own rules."""
    made = graph.written()
    onnx.checker.check_model(made, full_check=True)
    return made


def layers(graph: Graph) -> Iterator[NodeProto]:
    """The nodes that map channels to other channels by a constant matrix: plain convolutions and linear layers."""
    for node in graph.nodes:
        if node.op_type == "Conv" and graph.is_weight(node.input[1]) and attributes(node).get("group", 1) == 1:
            if graph.weight(node.input[1]).ndim == 4:
                yield node
        elif node.op_type == "Gemm" and graph.is_weight(node.input[1]) and _plain_gemm(node):
            yield node


def _plain_gemm(node: NodeProto) -> bool:
    given = attributes(node)
    return bool(given.get("transA", 0) == 0 and given.get("alpha", 1.0) == given.get("beta", 1.0) == 1.0)
