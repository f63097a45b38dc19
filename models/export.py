"""Stages of a network as ONNX graphs, and proof that they compute what the network computes.

Each graph takes and gives named tensors with a dynamic first axis "rows": the state, and the `logits` of its exit.

    python -m models.export PACKAGE [--prune SHARE] [--low-rank SHARE] [--quantize int8] [--output DIR] [--name NAME]

compresses a package's graphs and calibrates it again: models/compress.
"""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models import half
from models.macs import shapes_of_one_row
from models.nets.fold import folded
from models.nets.multi_exit import MultiExitNet, Stage

OPSET = 18
TOLERANCE = 1e-4
BATCHES = (1, 2, 7)
"""Rows with which parity is measured."""
Arrays = dict[str, NDArray[Any]]


class ParityError(RuntimeError):
    """An exported graph computes something else than the network."""


@dataclass(frozen=True)
class StagePorts:
    """Names of a stage's graph inputs and outputs; `logits` stands last."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class GraphStage(nn.Module):
    """What becomes one graph: `forward` takes and gives tensors in the order of `ports`."""

    name: str
    ports: StagePorts


class ExportedStage(GraphStage):
    """A stage with positional ports: its state, then its `logits`."""

    def __init__(self, stage: Stage, *, last: bool) -> None:
        """The `last` stage keeps no state: nothing follows."""
        super().__init__()
        self.stage, self.name = stage, stage.name
        self.ports = StagePorts(stage.inputs, ("logits",) if last else (*stage.outputs, "logits"))

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Tensors in the order of `ports.inputs` to tensors in the order of `ports.outputs`."""
        made, logits = self.stage(dict(zip(self.ports.inputs, tensors, strict=True)))
        assert logits is not None, "only stages with an exit are exported"
        outputs = made | {"logits": logits}
        return tuple(outputs[name] for name in self.ports.outputs)


def exported_stages(net: MultiExitNet) -> list[ExportedStage]:
    """The network's stages as they will be exported, norms folded."""
    fused = folded(net)
    assert isinstance(fused, MultiExitNet)
    chain = fused.chain()
    return [ExportedStage(stage, last=stage is chain[-1]).eval() for stage in chain]


@torch.no_grad()
def write_stages(stages: Sequence[GraphStage], image: Tensor, folder: Path) -> list[Path]:
    """Write `<stage>.onnx` for each stage; `image` uint8 [2, h, w, 3] is walked through all of them for the shapes."""
    folder.mkdir(parents=True, exist_ok=True)
    state: dict[str, Tensor] = {"image": image}
    files = []
    for stage in stages:
        file = folder / f"{stage.name}.onnx"
        inputs = tuple(state[name] for name in stage.ports.inputs)
        write_stage(stage, inputs, file)
        state |= dict(zip(stage.ports.outputs, stage(*inputs), strict=True))
        files.append(file)
    return files


class LastAnswer(GraphStage):
    """A whole network as one graph: `image` to the `logits` of its last exit."""

    def __init__(self, net: MultiExitNet) -> None:
        super().__init__()
        self.net = net
        self.ports = StagePorts(("image",), ("logits",))

    def forward(self, image: Tensor) -> Tensor:
        """uint8 [rows, h, w, 3] to float32 [rows, classes]."""
        answers: list[Tensor] = self.net(image)
        return answers[-1]


@torch.no_grad()
def write_whole(net: MultiExitNet, image: Tensor, file: Path) -> Path:
    """Write one graph from the image to the last exit, for comparison; not part of a package."""
    fused = folded(net)
    assert isinstance(fused, MultiExitNet)
    write_stage(LastAnswer(fused), (image,), file)
    return file


@torch.no_grad()
def write_of_any_size(stage: GraphStage, inputs: tuple[Tensor, ...], file: Path) -> None:
    """Write one graph whose pictures (inputs of four axes) may have any height and width, its weights as float16.

    Several stages of a package may name such a file, each with a size of its own; `half.round_weights` comes first.
    """
    pictures = [name for name, given in zip(stage.ports.inputs, inputs, strict=True) if given.ndim == 4]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # what isn't folded here is folded below
        write_stage(stage, inputs, file, pictures)
    _simplify(file)
    onnx.save(half.store_half(onnx.load(file)), file)


def _simplify(file: Path) -> None:
    """Fold constants, and paddings into their convolutions, by ONNX Runtime's basic passes: plain ONNX comes out.

    The exporter computes a padding's sizes in the graph, where no shape inference can follow.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file)
    options.log_severity_level = 3
    ort.InferenceSession(file.read_bytes(), options, providers=["CPUExecutionProvider"])
    model = onnx.load(file)
    plain = [opset for opset in model.opset_import if opset.domain == ""]
    del model.opset_import[:]  # it lists every domain that the runtime knows
    model.opset_import.extend(plain)
    onnx.save(model, file)


def write_stage(stage: GraphStage, inputs: tuple[Tensor, ...], file: Path, pictures: Sequence[str] = ()) -> None:
    """Write one stage, traced on inputs of two rows; `pictures` are inputs whose second and third axes may vary."""
    ports = stage.ports
    with warnings.catch_warnings():
        # The tracing exporter is deprecated, but enough for graphs without branches, and far faster; torch is pinned.
        warnings.simplefilter("ignore", DeprecationWarning)
        # Paddings that it leaves to be computed are folded by `fold_constants`.
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)
        torch.onnx.export(
            stage,
            inputs,
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(ports.inputs),
            output_names=list(ports.outputs),
            dynamic_axes={
                name: {0: "rows"} | ({1: "height", 2: "width"} if name in pictures else {})
                for name in (*ports.inputs, *ports.outputs)
            },
        )
    onnx.checker.check_model(onnx.load(file), full_check=True)


def fold_constants(file: Path) -> None:
    """Compute what a graph computes of constants alone (the exporter leaves paddings so), and name its outputs' sizes.

    Only its basic optimisations: the graph stays one of ONNX's own operators, and shapes can be inferred.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(file.with_suffix(".folded"))
    options.log_severity_level = 3
    ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    folded_file = file.with_suffix(".folded")
    model = onnx.load(folded_file)
    shapes = shapes_of_one_row(model)
    for output in model.graph.output:
        for axis, size in zip(output.type.tensor_type.shape.dim[1:], shapes[output.name][1:], strict=True):
            axis.dim_value = size
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, file)
    folded_file.unlink()


def session(file: Path, threads: int = 1) -> ort.InferenceSession:
    """A CPU session of a graph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])


@torch.no_grad()
def parity(
    net: MultiExitNet, stages: Sequence[ExportedStage], files: Sequence[Path], images: NDArray[np.uint8]
) -> dict[str, float]:
    """Largest absolute difference from torch, by stage (fed torch's state) and over the `walk` (fed its own).

    `images` uint8 [n, h, w, 3] are run in batches of 1, 2 and 7 rows. The walk's logits are compared with those of the
    unfolded network, so that folding is checked as well.
    """
    graphs = [session(file) for file in files]
    worst = stage_parity(stages, files, images) | {"walk": 0.0}
    for rows in BATCHES:
        expected = net.eval()(torch.from_numpy(images[:rows]))
        walked: Arrays = {"image": images[:rows]}
        for answer, graph in zip(expected, graphs, strict=True):
            walked |= run(graph, walked)
            worst["walk"] = _larger(worst["walk"], _difference({"logits": answer.numpy()}, walked))
    return worst


@torch.no_grad()
def stage_parity(stages: Sequence[GraphStage], files: Sequence[Path], images: NDArray[np.uint8]) -> dict[str, float]:
    """Largest absolute difference from torch, by stage: each graph is fed torch's state, all stages in order."""
    graphs = [session(file) for file in files]
    worst = dict.fromkeys([stage.name for stage in stages], 0.0)
    for rows in BATCHES:
        state: Arrays = {"image": images[:rows]}
        for stage, graph in zip(stages, graphs, strict=True):
            made = stage(*(torch.from_numpy(state[name]) for name in stage.ports.inputs))
            torch_made = {name: t.numpy() for name, t in zip(stage.ports.outputs, made, strict=True)}
            worst[stage.name] = _larger(worst[stage.name], _difference(torch_made, run(graph, state)))
            state |= torch_made
    return worst


def require_parity(worst: Mapping[str, float]) -> None:
    """Raise ParityError if a measured difference exceeds the tolerance."""
    beyond = {name: difference for name, difference in worst.items() if not difference <= TOLERANCE}
    if beyond:
        raise ParityError(f"graphs differ from the network by more than {TOLERANCE}: {beyond}")


def run(graph: ort.InferenceSession, state: Mapping[str, NDArray[Any]]) -> Arrays:
    """One stage's graph on a state that holds its inputs; its outputs by name."""
    made = graph.run(None, {port.name: state[port.name] for port in graph.get_inputs()})
    return dict(zip((port.name for port in graph.get_outputs()), made, strict=True))


def _difference(one: Arrays, other: Arrays) -> float:
    return float(np.max([np.abs(one[name] - other[name]).max() for name in one]))


def _larger(one: float, other: float) -> float:
    # Not max(): that would let a NaN pass.
    return float(np.maximum(one, other))


if __name__ == "__main__":
    # `python -m models.export` compresses what was exported; it reads this module, so it is only read when run.
    from models.compress.commands import main

    main()
