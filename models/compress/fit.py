"""Least squares between what a layer is given now and what it made before: no labels, no gradients.

A layer behind compressed ones no longer sees the inputs that its weights were made for. Its refit weights map the
inputs of now to the outputs of before (asymmetric reconstruction: Zhang et al., TPAMI 2015; He et al., ICCV 2017).
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.compress.graphs import Graph
from models.compress.layer import Layer
from models.compress.sessions import ROWS, in_pieces
from models.compress.walks import StageInputs
from models.export import Arrays

POSITIONS = 25
"""Places of a map at which a convolution is looked at, per sample: neighbours say nearly the same."""
RIDGE = 1e-4
"""Of the mean variance of the inputs: keeps directions in which they hardly vary at the old weights."""


@dataclass(frozen=True)
class Fit:
    """A layer's inputs x and wanted outputs y, in moments about their means.

    Attributes:
        matrix: float64 [rows, outputs], the best weights.
        scatter: float64 [rows, rows], covariance of x with the ridge.
        mean_x, mean_y: float64.
        wanted: variance of y, summed over the outputs.
    """

    matrix: NDArray[np.float64]
    scatter: NDArray[np.float64]
    mean_x: NDArray[np.float64]
    mean_y: NDArray[np.float64]
    wanted: float

    def bias(self, matrix: NDArray[np.float64]) -> NDArray[np.float64]:
        """The best bias of other weights."""
        return np.asarray(self.mean_y - self.mean_x @ matrix)


def fit(layer: Layer, teacher: Graph, inputs: StageInputs, kept: NDArray[np.int64] | None) -> Fit:
    """Fit a layer to what the `teacher`'s layer of the same name made, in the output channels `kept` (None: all).

    The ridge pulls towards the weights that the layer has, so that nothing moves where nothing has to.
    """
    moments = _moments(layer, teacher, inputs, kept)
    mean = moments.x / moments.n
    scatter = moments.xx / moments.n - np.outer(mean, mean)
    cross = moments.xe / moments.n - np.outer(mean, moments.e / moments.n)
    scatter[np.diag_indices_from(scatter)] += RIDGE * max(float(np.diag(scatter).mean()), 1e-12)
    return Fit(
        matrix=layer.matrix.astype(np.float64) + np.linalg.solve(scatter, cross),
        scatter=scatter,
        mean_x=mean,
        mean_y=moments.y / moments.n,
        wanted=float((moments.yy / moments.n - (moments.y / moments.n) ** 2).sum()),
    )


@dataclass
class _Moments:
    """Sums over n positions of inputs x, wanted outputs y and errors e = y - x @ matrix of the weights of now."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    e: NDArray[np.float64]
    xx: NDArray[np.float64]
    xe: NDArray[np.float64]
    yy: NDArray[np.float64]
    n: int = 0

    @classmethod
    def zero(cls, rows: int, made: int) -> "_Moments":
        return cls(
            x=np.zeros(rows),
            y=np.zeros(made),
            e=np.zeros(made),
            xx=np.zeros((rows, rows)),
            xe=np.zeros((rows, made)),
            yy=np.zeros(made),
        )

    def add(self, x: NDArray[np.float32], y: NDArray[np.float32], matrix: NDArray[np.float32]) -> None:
        error = y - x @ matrix
        self.x += x.sum(axis=0, dtype=np.float64)
        self.y += y.sum(axis=0, dtype=np.float64)
        self.e += error.sum(axis=0, dtype=np.float64)
        self.xx += x.T @ x
        self.xe += x.T @ error
        self.yy += (y.astype(np.float64) ** 2).sum(axis=0)
        self.n += len(x)


def _moments(layer: Layer, teacher: Graph, inputs: StageInputs, kept: NDArray[np.int64] | None) -> _Moments:
    matrix = layer.matrix
    moments = _Moments.zero(*matrix.shape)
    rng = np.random.default_rng(0)
    given = _tensor(layer.graph, layer.reads, inputs.now)
    wanted = _tensor(teacher, layer.makes, inputs.before)
    for now, before in zip(given, wanted, strict=True):
        at = rng.random(POSITIONS)
        y = layer.results(before, at)
        moments.add(layer.patches(now, at), y if kept is None else y[:, kept], matrix)
    return moments


def _tensor(graph: Graph, name: str, inputs: Arrays) -> Iterator[NDArray[np.float32]]:
    """A tensor of a graph, in pieces of the same rows whatever the graph."""
    if name in inputs:
        count = len(inputs[name])
        return (inputs[name][start : start + ROWS] for start in range(0, count, ROWS))
    return (made[name] for made in in_pieces(graph.upto(name), inputs))
