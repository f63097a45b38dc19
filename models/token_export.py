"""Graphs of a token-dropping encoder, and proof that stages and whole walks compute what the network computes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from models import export, storage
from models.calibration.token_walks import Chain
from models.export import BATCHES, GraphStage
from models.macs import macs_per_row
from models.nets.bag import Bag
from models.nets.encoder import Encoder
from models.nets.encoder_stages import stages
from models.token_package import RAGGED, names

DROPS = (0.0, 0.3)
"""Thresholds with which whole walks are compared."""


@torch.no_grad()
def write(bag: Bag, net: Encoder, seen: Mapping[str, NDArray[np.int32]], folder: Path) -> dict[str, float]:
    """Write every stage's graph with its weights as int8; the largest difference by stage, and over `walk`s.

    Args:
        bag: rounded (models/storage.py).
        net: rounded as well.
        seen: glimpses of seven texts or more, by graph input.
        folder: where the graphs go.

    Raises:
        ParityError: a difference exceeds the tolerance.
    """
    state = {name: torch.from_numpy(array) for name, array in seen.items()}
    worst = {}
    for stage in stages(bag, net):
        stage.eval()
        given = tuple(_given(stage, state[name]) for name in stage.ports.inputs)
        file = folder / f"{stage.name}.onnx"
        export.write_stage(stage, given, file)
        made = stage(*given)
        _fix_axes(file, made)
        storage.shrink(file)
        worst[stage.name] = _difference(stage, file, given, made)
        state |= _kept(stage, made, rows=len(state["tokens"]))
    worst["walk"] = _walks(bag, net, seen, folder)
    export.require_parity(worst)
    return worst


def _fix_axes(file: Path, made: tuple[Tensor, ...]) -> None:
    """Say how large the outputs' axes behind the first are: the exporter loses track of some."""
    model = onnx.load(file)
    for port, tensor in zip(model.graph.output, made, strict=True):
        for axis, size in zip(port.type.tensor_type.shape.dim[1:], tensor.shape[1:], strict=True):
            axis.dim_value = size
    onnx.save(model, file)


def _given(stage: GraphStage, state: Tensor) -> Tensor:
    """A state as the stage gets it: a ragged one has the tokens of all texts as its rows."""
    return state.reshape(-1, state.shape[-1]) if stage.name.startswith(RAGGED) else state


def _kept(stage: GraphStage, made: tuple[Tensor, ...], rows: int) -> dict[str, Tensor]:
    shaped = [t.reshape(rows, -1, t.shape[-1]) if stage.name.startswith(RAGGED) else t for t in made]
    return {name.removesuffix("_next"): t for name, t in zip(stage.ports.outputs, shaped, strict=True)}


def _difference(stage: GraphStage, file: Path, given: tuple[Tensor, ...], made: tuple[Tensor, ...]) -> float:
    told = export.run(
        export.session(file), {name: t.numpy() for name, t in zip(stage.ports.inputs, given, strict=True)}
    )
    return max(float(np.abs(told[name] - t.numpy()).max()) for name, t in zip(stage.ports.outputs, made, strict=True))


def _walks(bag: Bag, net: Encoder, seen: Mapping[str, NDArray[np.int32]], folder: Path) -> float:
    """Whole walks with and without dropped tokens, in batches of 1, 2 and 7 texts, against the network's own."""
    layers = net.shape.layers
    macs = {name: macs_per_row(onnx.load(folder / f"{name}.onnx")) for name in names(layers)}
    chain, worst = Chain(folder, layers, macs), 0.0
    for rows in BATCHES:
        some: dict[str, NDArray[Any]] = {name: array[:rows] for name, array in seen.items()}
        for drop in DROPS:
            told = chain.answers(some["ngrams"], some["tokens"], drop).logits
            own = [bag(torch.from_numpy(some["ngrams"])), *net(torch.from_numpy(some["tokens"]), drop)]
            worst = float(np.maximum(worst, np.abs(told - torch.stack(own).numpy()).max()))
    return worst
