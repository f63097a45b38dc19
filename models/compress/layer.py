"""A convolution or linear layer as a matrix: rows are what it reads (channel by channel), columns what it makes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto

from models.compress.graphs import Graph, attributes


@dataclass(frozen=True)
class Layer:
    """A node of `graphs.layers`. A position of its output is `patch @ matrix + bias`.

    Attributes:
        graph: that it belongs to.
        node: the convolution or Gemm.
        channels: of the tensor that it reads; each has `block` neighbouring rows of the matrix.
    """

    graph: Graph
    node: NodeProto
    channels: int

    @classmethod
    def of(cls, graph: Graph, node: NodeProto, channels: int) -> "Layer":
        """`channels` tells how many a Gemm's flattened input had; a convolution knows its own."""
        return cls(graph, node, graph.weight(node.input[1]).shape[1] if node.op_type == "Conv" else channels)

    @property
    def reads(self) -> str:
        """The tensor that it reads."""
        return str(self.node.input[0])

    @property
    def makes(self) -> str:
        """The tensor that it makes."""
        return str(self.node.output[0])

    @property
    def block(self) -> int:
        """Rows of the matrix that belong to one input channel."""
        return len(self.matrix) // self.channels

    @property
    def matrix(self) -> NDArray[np.float32]:
        """float32 [channels * block, outputs]."""
        weight = self.graph.weight(self.node.input[1])
        if self.node.op_type == "Conv":
            return np.asarray(weight.reshape(len(weight), -1).T)
        return np.asarray(weight.T if attributes(self.node).get("transB", 0) else weight)

    @property
    def bias(self) -> NDArray[np.float32]:
        """float32 [outputs]."""
        if len(self.node.input) > 2:
            return np.asarray(np.broadcast_to(self.graph.weight(self.node.input[2]).ravel(), self.matrix.shape[1]))
        return np.zeros(self.matrix.shape[1], np.float32)

    def set(self, matrix: NDArray[np.floating], bias: NDArray[np.floating]) -> None:
        """Other numbers, perhaps for fewer channels on either side."""
        self.graph.set_weight(self.node.input[1], self._weight(matrix.astype(np.float32)))
        if len(self.node.input) < 3:
            self.node.input.append(f"{self.makes}/bias")
        self.graph.set_weight(self.node.input[2], bias.astype(np.float32))

    def _weight(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        if self.node.op_type == "Conv":
            kernel = self.graph.weight(self.node.input[1]).shape[2:]
            return np.ascontiguousarray(matrix.T.reshape(matrix.shape[1], -1, *kernel))
        return np.ascontiguousarray(matrix.T if attributes(self.node).get("transB", 0) else matrix)

    def patches(self, given: NDArray[np.float32], at: NDArray[np.floating]) -> NDArray[np.float32]:
        """What the layer sees of its input [n, ...] at some places of its output: float32 [n * places, rows].

        `at` in 0..1 chooses the places, from the first to the last.
        """
        if self.node.op_type == "Gemm":
            return given.reshape(len(given), -1)
        window = _Window.of(self.node, self.graph.weight(self.node.input[1]).shape[2:], given.shape[2:])
        padded = np.pad(given, ((0, 0), (0, 0), *window.pads))
        vertical, horizontal = window.places(at)
        # [n, channels, places, kernel height, kernel width]
        seen = padded[:, :, vertical[:, :, None], horizontal[:, None, :]]
        return np.ascontiguousarray(seen.transpose(0, 2, 1, 3, 4)).reshape(len(given) * len(at), -1)

    def results(self, made: NDArray[np.float32], at: NDArray[np.floating]) -> NDArray[np.float32]:
        """Its output [n, ...] at the same places: float32 [n * places, outputs]."""
        if self.node.op_type == "Gemm":
            return made
        flat = made.reshape(*made.shape[:2], -1)
        return np.ascontiguousarray(flat[:, :, _spots(at, flat.shape[2])].transpose(0, 2, 1)).reshape(
            len(made) * len(at), -1
        )


@dataclass(frozen=True)
class _Window:
    """A convolution's kernel sliding over a map; each pair is vertical, horizontal."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[tuple[int, int], tuple[int, int]]
    made: tuple[int, int]

    @classmethod
    def of(cls, node: NodeProto, kernel: Sequence[int], size: Sequence[int]) -> "_Window":
        given = attributes(node)
        top, left, bottom, right = given.get("pads", (0, 0, 0, 0))
        pads = ((top, bottom), (left, right))
        strides, dilations = given.get("strides", (1, 1)), given.get("dilations", (1, 1))
        made = [
            (size[axis] + sum(pads[axis]) - dilations[axis] * (kernel[axis] - 1) - 1) // strides[axis] + 1
            for axis in (0, 1)
        ]
        return cls((kernel[0], kernel[1]), tuple(strides), tuple(dilations), pads, (made[0], made[1]))

    def places(self, at: NDArray[np.floating]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows and columns of the padded input under the kernel, each int [places, kernel]."""
        spots = np.divmod(_spots(at, self.made[0] * self.made[1]), self.made[1])
        vertical, horizontal = (
            spot[:, None] * stride + np.arange(width) * dilation
            for spot, stride, width, dilation in zip(spots, self.strides, self.kernel, self.dilations, strict=True)
        )
        return vertical, horizontal


def _spots(at: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Places 0..count-1 of a flattened map."""
    return np.minimum((at * count).astype(np.int64), count - 1)
