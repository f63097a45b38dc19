"""All tables of a `token-exit` package from its router split, by the graphs that stand in its folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.calibration import token_tables
from models.calibration.token_walks import Chain, TokenAnswers
from models.calibration.walks import menu
from service.package.graph import StageGraph
from service.routing.token_exit import Costs

DROPS = (0.0, 0.2, 0.3, 0.4, 0.5, 0.7)
"""Thresholds tried: shares of the average attention."""


@dataclass(frozen=True)
class Fitted:
    """The router's tables, and the prices at which its walks change."""

    tables: dict[str, NDArray[Any]]
    prices: NDArray[np.float64]


def chain(folder: Path, graph: StageGraph) -> Chain:
    """The package's graphs as a chain."""
    return Chain(folder, len(graph.exits) - 1, dict(zip(graph.names, graph.macs, strict=True)))


def fit(
    told: dict[float, TokenAnswers], words: NDArray[np.floating], labels: NDArray[np.integer], graph: StageGraph
) -> Fitted:
    """From what the exits say of the router split at every threshold, and how many words its texts have."""
    plain, costs = told[0.0], Costs(graph)
    temperature = token_tables.temperatures(plain, labels)
    maps = token_tables.gain_maps(plain, temperature)
    tables: dict[str, NDArray[Any]] = {"temperature": temperature, "gain_edges": maps.edges, "gain": maps.gain}
    tables |= token_tables.thresholds(told, temperature, maps, costs) | token_tables.patience(plain, temperature)
    tables["tokens_of_words"] = token_tables.tokens_of_words(words, plain.tokens[0])
    return Fitted(tables, _prices(tables, token_tables.worths(plain, temperature, maps, costs)))


def answers_by_drop(
    found: Chain, seen: dict[str, NDArray[np.int32]], drops: Sequence[float] = DROPS
) -> dict[float, TokenAnswers]:
    """What every exit says when tokens are dropped by each of some thresholds."""
    return {drop: found.answers(seen["ngrams"], seen["tokens"], drop) for drop in drops}


def _prices(tables: dict[str, NDArray[Any]], worths: NDArray[np.floating]) -> NDArray[np.float64]:
    """Prices at which a text of the router split changes its mind, and those of the knobs."""
    steps = np.concatenate([tables["knob_prices"], tables["patience_prices"]])
    return menu(np.concatenate([worths.reshape(-1), steps[np.isfinite(steps)]]))
