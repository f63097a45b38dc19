"""Real walks to compress by: which stages each of some inputs runs, and what the stages are given on the way."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto

from models.calibration.traverse import Stages, traverse
from models.compress.sessions import outputs
from models.data import cifar10
from models.data.cifar10 import SIDE
from models.export import Arrays
from service.core import FULL
from service.package.load import Package
from service.routing.base import build

SAMPLES = 1_000
PRICES = 4
SEED = 0


class NoSamples(ValueError):
    """No inputs are known for a package."""


@dataclass(frozen=True)
class Walks:
    """n walks. `inputs`: what the first stage's glimpses show, by name, [n, ...]; `ran` bool [n, S]."""

    inputs: Arrays
    ran: NDArray[np.bool_]

    @classmethod
    def of(cls, package: Package, inputs: Arrays) -> "Walks":
        """The different walks of inputs at a few prices, by the package's own router."""
        prices = some_prices(package)
        stages = Stages.of(package.manifest, package.path)
        walked = traverse(stages, build(package), inputs, prices)
        kept = _kept(walked.routes.astype(bool), walked.route)
        sample, route = np.nonzero(kept)
        return cls({name: array[sample] for name, array in inputs.items()}, walked.routes.astype(bool)[route])


@dataclass(frozen=True)
class StageInputs:
    """What one stage is given on n walks, by input: by the package as it was, and by the one in the making."""

    before: Arrays
    now: Arrays


Rework = Callable[[str, ModelProto, StageInputs], ModelProto]
"""Stage name, its graph and its inputs to the graph that takes its place."""


def rework(walks: Walks, graphs: dict[str, ModelProto], change: Rework) -> dict[str, ModelProto]:
    """Change every stage's graph in walking order, each knowing what the changed ones before it really give."""
    before, now = dict(walks.inputs), dict(walks.inputs)
    changed = {}
    for place, (name, graph) in enumerate(graphs.items()):
        rows = np.flatnonzero(walks.ran[:, place])
        names = [port.name for port in graph.graph.input]
        inputs = StageInputs(*({port: state[port][rows] for port in names} for state in (before, now)))
        changed[name] = change(name, graph, inputs)
        _keep(before, rows, outputs(graph, inputs.before), len(walks.ran))
        _keep(now, rows, outputs(changed[name], inputs.now), len(walks.ran))
    return changed


def training_inputs(package: Package) -> Arrays:
    """Inputs of the package's data set that serve neither its router nor its certificates: what is fitted on those must
    meet inputs that the new weights haven't been fitted on.

    Raises:
        NoSamples: not a package of a data set that is known here.
    """
    used = [package.tables[name] for name in ("router_index", "calibration_index") if name in package.tables]
    specs = package.manifest.stages[0].glimpses
    fitting = all(spec.shape == (SIDE, SIDE, 3) for spec in specs.values())
    if not fitting or len(used) < 2 or "CIFAR-10" not in str(package.manifest.provenance.get("data")):
        raise NoSamples(
            f"{package.name} wasn't made from CIFAR-10: models.compress.walks must learn where its inputs are"
        )
    data = cifar10.load("train")
    free = np.setdiff1d(np.arange(len(data)), np.concatenate(used))
    rows = np.sort(np.random.default_rng(SEED).choice(free, SAMPLES, replace=False))
    return dict.fromkeys(specs, data.images[rows])


def some_prices(package: Package) -> NDArray[np.float64]:
    """Full, cheapest and a few between, evenly by their place on the path."""
    prices = package.record.prices
    places = np.unique(np.linspace(0, len(prices) - 1, PRICES).round().astype(int))
    assert prices[0] == FULL
    return np.asarray(prices[places])


def _kept(routes: NDArray[np.bool_], route: NDArray[np.integer]) -> NDArray[np.bool_]:
    """The different routes of each sample, bool [n, R], without those that are the beginning of another of them.

    `routes` bool [R, S]; `route` int [P, n].
    """
    taken = np.zeros((route.shape[1], len(routes)), bool)
    taken[np.arange(route.shape[1]), route] = True
    last = routes.shape[1] - routes[:, ::-1].argmax(axis=1)
    kept = taken.copy()
    for short, end in enumerate(last):
        longer = (last > end) & (routes[:, :end] == routes[short, :end]).all(axis=1)
        kept[:, short] &= ~taken[:, longer].any(axis=1)
    return kept


def _keep(state: Arrays, rows: NDArray[np.int64], made: Arrays, walks: int) -> None:
    for name, tensor in made.items():
        if name not in state:
            state[name] = np.zeros((walks, *tensor.shape[1:]), tensor.dtype)
        state[name][rows] = tensor
