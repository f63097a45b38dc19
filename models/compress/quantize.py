"""Static int8 quantisation by ONNX Runtime: convolutions between QuantizeLinear and DequantizeLinear.

Ranges are those that real inputs of the stage span. States, logits and residual paths stay float32 at full resolution:
only what a quantised layer itself reads and makes is rounded. Weights have seven bits: without VNNI the kernels add
pairs of products in 16 bits, which eight bits overflow.
"""

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import onnx
from onnx import ModelProto, helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from models.compress.graphs import Graph, layers
from models.compress.prune import LEAST_SHARE
from models.compress.sessions import ROWS
from models.export import Arrays

TRANSPARENT = frozenset(("Cast", "Identity"))


class _Batches(CalibrationDataReader):
    """Inputs in pieces, as the quantiser asks for them."""

    def __init__(self, inputs: Arrays) -> None:
        count = len(next(iter(inputs.values())))
        self._batches = (
            {name: array[at : at + ROWS] for name, array in inputs.items()} for at in range(0, count, ROWS)
        )

    def get_next(self) -> Arrays | None:
        return next(self._batches, None)


def quantised(model: ModelProto, inputs: Arrays) -> ModelProto:
    """The model with its large layers in int8; `inputs` by name, [n, ...], give the ranges."""
    graph = Graph(model)
    chosen = _chosen(graph)
    if not chosen:
        return model
    _separate(graph, chosen)
    names = _named(graph, chosen)
    with TemporaryDirectory() as folder, _quiet():
        source, target = Path(folder, "float32.onnx"), Path(folder, "int8.onnx")
        onnx.save(graph.written(), source)
        quantize_static(
            source,
            target,
            _Batches(inputs),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_quantize=names,
        )
        return onnx.load(target)


def _chosen(graph: Graph) -> set[str]:
    """Outputs of the layers of some size that make no output of the graph."""
    macs = graph.macs()
    made = _outputs_themselves(graph)
    some = {node.output[0] for node in layers(graph)}
    return {name for name, count in macs.items() if name in some - made and count >= LEAST_SHARE * sum(macs.values())}


def _separate(graph: Graph, chosen: set[str]) -> None:
    """Give the chosen layers a copy of what others read as well: the quantiser rounds a tensor for all its readers, and
    states and residual paths shall not be rounded. At run time the copy is none.
    """
    copied: set[str] = set()
    for node in [node for node in graph.nodes if node.output[0] in chosen]:
        read = node.input[0]
        others = [each for each in graph.readers(read) if each.output[0] not in chosen and each.op_type != "Identity"]
        if read in graph.outputs or others:
            if read not in copied:
                graph.insert_before(
                    node, helper.make_node("Identity", [read], [f"{read}/copy"], f"{read}/copy/Identity")
                )
                copied.add(read)
            node.input[0] = f"{read}/copy"


def _outputs_themselves(graph: Graph) -> set[str]:
    """Tensors that are an output of the graph, if only by another name."""
    found = set(graph.outputs)
    for node in reversed(graph.nodes):
        if node.op_type in TRANSPARENT and node.output[0] in found:
            found.add(node.input[0])
    return found


def _named(graph: Graph, outputs: set[str]) -> list[str]:
    """Names of the nodes that make these outputs, which are given one where they have none."""
    nodes = [node for node in graph.nodes if node.output[0] in outputs]
    for node in nodes:
        node.name = node.name or f"{node.output[0]}/{node.op_type}"
    return [node.name for node in nodes]


@contextlib.contextmanager
def _quiet() -> Iterator[Any]:
    """Without the quantiser's advice, logged to the root, to prepare graphs that need no preparation."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
