"""What the card of a token-dropping encoder tells, measured on sentences that nothing was trained or chosen on."""

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from models.calibration.scores import auroc, expected_calibration_error, worth_going_on
from models.calibration.token_tables import leaving
from models.calibration.token_walks import TokenAnswers
from models.calibration.traverse import Traversal
from models.export import run, session
from models.findings import Operating, PathFindings, Share, StaticNet, default_place, path, spoilt
from service.package.load import Package
from service.routing.early_exit import softmax

ROWS = (4, 32)
"""Tokens with which ragged stages are timed: a line through two points."""
ROUNDS = 100


@dataclass(frozen=True)
class Forced:
    """A fixed policy: `name`, mean MACs, accuracy; and for an exit its calibration error and AUROC of 1 - score against
    "wrong here, right later"."""

    name: str
    macs: float
    accuracy: Share
    calibration_error: float = float("nan")
    auroc: float = float("nan")


@dataclass(frozen=True, kw_only=True)
class TokenFindings(PathFindings):
    """All that the card shows.

    `full_macs` are the mean ones of the full walks, without padding. `ms` [P]: mean time of a walk's stages. `tokens`
    [P, layers]: the mean share of a text's tokens that are still kept at each layer, among the texts that get there.
    """

    prices: tuple[Operating, ...]
    ms: NDArray[np.float64]
    tokens: NDArray[np.float64]
    exits: tuple[Forced, ...]
    drops: tuple[Forced, ...]
    patience: tuple[Forced, ...]
    padded_macs: int


def find(
    package: Package,
    walks: Traversal,
    told: Mapping[float, TokenAnswers],
    labels: NDArray[np.integer],
    stage_ms: Mapping[str, tuple[float, float]],
) -> TokenFindings:
    """Findings from walks of n texts at the package's prices, and what all exits say of them at every threshold."""
    plain, graph = told[0.0], package.graph
    default = default_place(package)
    points = path(walks, package.record.prices, labels, walks.predictions[0], len(graph.exits))
    times = np.array([stage_ms[name] for name in graph.names])
    ms = (walks.routes > 0) @ times[:, 0] + walks.routes @ times[:, 1]
    full = float(walks.macs[0].mean())
    return TokenFindings(
        full_macs=round(full),
        prices=points,
        statics=tuple(_statics(package, plain, labels)),
        default=default,
        failing=spoilt(walks.predictions[default], walks.scores[default], labels, walks.predictions[0]),
        ms=ms[walks.route].mean(axis=1),
        tokens=_kept(package, walks),
        exits=tuple(_exit(package, plain, labels, place) for place in range(len(graph.exits))),
        drops=tuple(_forced(f"{drop:g}", of.macs[-1], of.logits[-1], labels) for drop, of in sorted(told.items())),
        patience=tuple(_patient(plain, labels, agreed) for agreed in range(1, len(graph.exits) + 1)),
        padded_macs=graph.full_macs,
    )


def time(package: Package, file: Path) -> None:
    """Write every stage's milliseconds, batch 1, one thread: a fixed part, and one for each row of a ragged stage."""
    rng, found = np.random.default_rng(0), {}
    for place, name in enumerate(package.graph.names):
        stage = package.manifest.stages[package.graph.stage_of[place]]
        graph, taken = session(package.path / stage.graph), []
        for rows in ROWS if stage.ragged else (1,):
            given = {
                port.name: np.ones((rows, *port.shape[1:]), np.int32)
                if "int32" in port.type
                else rng.normal(size=(rows, *port.shape[1:])).astype(np.float32)
                for port in graph.get_inputs()
            }
            taken.append(_median(graph, given))
        each = (taken[1] - taken[0]) / (ROWS[1] - ROWS[0]) if stage.ragged else 0.0
        found[name] = (taken[0] - each * (ROWS[0] if stage.ragged else 0), each)
    machine = f"{platform.machine()}, onnxruntime {ort.__version__}, 1 thread, batch 1, median of {ROUNDS}"
    file.write_text(json.dumps({"machine": machine, "stage_ms": found}, indent=1))


def _median(graph: ort.InferenceSession, given: dict[str, NDArray[np.generic]]) -> float:
    taken = []
    for _ in range(ROUNDS):
        start = perf_counter()
        run(graph, given)
        taken.append(perf_counter() - start)
    return float(np.median(taken)) * 1e3


def _kept(package: Package, walks: Traversal) -> NDArray[np.float64]:
    """At each price and layer, the mean share of tokens kept by the texts that get there: [P, layers]."""
    names = list(package.graph.names)
    layers = [names.index(f"transform{layer}") for layer in range(1, len(package.graph.exits))]
    have = np.maximum(walks.routes[:, names.index("project1")], 1)
    shares = walks.routes[:, layers] / have[:, None]
    there = walks.routes[:, layers] > 0
    return np.array([shares[route].sum(axis=0) / np.maximum(there[route].sum(axis=0), 1) for route in walks.route])


def _exit(package: Package, plain: TokenAnswers, labels: NDArray[np.integer], place: int) -> Forced:
    temperature = package.tables["temperature"][place]
    scores = softmax(plain.logits[place] / temperature).max(axis=1)
    right = (plain.logits.argmax(axis=2) == labels).T
    found = _forced(package.graph.exits[place], plain.macs[place], plain.logits[place], labels)
    last = place == right.shape[1] - 1
    return Forced(
        name=found.name,
        macs=found.macs,
        accuracy=found.accuracy,
        calibration_error=expected_calibration_error(scores, right[:, place]),
        auroc=float("nan") if last else auroc(1 - scores, worth_going_on(right, place)),
    )


def _forced(name: str, macs: NDArray[np.integer], logits: NDArray[np.floating], labels: NDArray[np.integer]) -> Forced:
    return Forced(name, float(macs.mean()), Share(int((logits.argmax(axis=1) == labels).sum()), len(labels)))


def _patient(plain: TokenAnswers, labels: NDArray[np.integer], agreed: int) -> Forced:
    exits, rows = leaving(plain, agreed), np.arange(len(labels))
    return _forced(str(agreed), plain.macs[exits, rows], plain.logits[exits, rows], labels)


def _statics(package: Package, plain: TokenAnswers, labels: NDArray[np.integer]) -> list[StaticNet]:
    """The encoder cut after each layer, and the bag, as nets of one depth for every text."""
    found = [
        _forced(name, macs, logits, labels)
        for name, macs, logits in zip(package.graph.exits, plain.macs, plain.logits, strict=True)
    ]
    return [StaticNet(each.name, round(each.macs), each.accuracy) for each in found]
