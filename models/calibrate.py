"""The calibration file of a package: temperatures, gain maps and the record behind every certificate.

All of it is measured by running the exported graphs, not the network that they came from, so what is certified is what
is served.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration.gain_maps import GainMaps, expected_correctness, fit_gain_maps
from models.calibration.temperature import fit_temperature
from models.calibration.walks import ExitAnswers, by_price, price_path
from models.export import run, session
from service.routing.early_exit import softmax

BINS = 80
"""Score bins of a gain map: fine, because making them monotone joins those that the data can't tell apart."""


@dataclass(frozen=True)
class Router:
    """All that the early-exit router needs: `temperature` float32 [K], gain maps, `exit_macs` int64 [K]."""

    temperature: NDArray[np.float32]
    maps: GainMaps
    exit_macs: NDArray[np.int64]


def exit_logits(files: Sequence[Path], images: NDArray[np.uint8], batch: int = 100) -> NDArray[np.float32]:
    """Walk uint8 [n, h, w, 3] through all graphs; float32 [K, n, classes]."""
    graphs = [session(file) for file in files]
    parts = []
    for start in range(0, len(images), batch):
        state: dict[str, NDArray[Any]] = {"image": images[start : start + batch]}
        logits = []
        for graph in graphs:
            state |= run(graph, state)
            logits.append(state["logits"])
        parts.append(np.stack(logits))
    return np.concatenate(parts, axis=1)


def fit_router(logits: NDArray[np.float32], labels: NDArray[np.integer], exit_macs: NDArray[np.int64]) -> Router:
    """Temperatures and gain maps from the router split: logits [K, n, classes], labels [n]."""
    temperature = np.array([fit_temperature(of_exit, labels) for of_exit in logits], np.float32)
    answers = ExitAnswers.of(logits, temperature, labels)
    correctness = expected_correctness(softmax(logits[-1] / temperature[-1]), answers.predictions)
    return Router(temperature, fit_gain_maps(answers.scores, correctness, BINS), exit_macs)


def router_arrays(router: Router) -> dict[str, NDArray[Any]]:
    """The router's tables, as calibration.npz holds them."""
    return {
        "temperature": router.temperature,
        "gain_edges": router.maps.edges,
        "gain": router.maps.gain,
        "exit_macs": router.exit_macs,
    }


def calibration_arrays(router: Router, answers: ExitAnswers) -> dict[str, NDArray[Any]]:
    """The arrays of calibration.npz (docs/packages.md) from the answers on the calibration split."""
    prices = price_path(router.maps, router.exit_macs)
    walks = by_price(answers, router.maps, router.exit_macs, prices)
    return router_arrays(router) | {
        "prices": prices,
        "labels": answers.labels,
        "predictions": walks.predictions,
        "exits": walks.exits,
        "macs": walks.macs,
        "exit_scores": answers.scores,
        "exit_predictions": answers.predictions,
    }
