"""Tables of the router `token-exit`: which threshold of attention and which patience fit which price.

The threshold is chosen together with the exits: on the router split the whole rule is replayed at a price p for every
threshold, and the one with the most expected correctness - p x GMACs is p's. So one price steers both how many
layers run and on how many tokens.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from models.calibration.gain_maps import GainMaps, expected_correctness, fit_gain_maps
from models.calibration.knobs import price_knobs
from models.calibration.temperature import fit_temperature
from models.calibration.token_walks import TokenAnswers
from service.core import FULL
from service.routing.early_exit import softmax
from service.routing.token_exit import Costs, worth

Tables = dict[str, NDArray[np.generic]]
BINS = 25
"""Few: the router split has a few hundred texts."""
PRICES = np.concatenate([[0.0], np.geomspace(0.01, 100.0, 60)])
"""Per GMAC; where between two of them a threshold changes doesn't matter much."""


def temperatures(found: TokenAnswers, labels: NDArray[np.integer]) -> NDArray[np.float32]:
    """One for each exit, float32 [K]."""
    return np.array([fit_temperature(logits, labels) for logits in found.logits], np.float32)


def gain_maps(found: TokenAnswers, temperature: NDArray[np.float32]) -> GainMaps:
    """From walks that drop no token."""
    probability = _probabilities(found, temperature)
    predictions = probability.argmax(axis=2).T
    correct = expected_correctness(probability[-1], predictions)
    return fit_gain_maps(probability.max(axis=2).T, correct, BINS)


def exits_at(
    found: TokenAnswers, temperature: NDArray[np.float32], maps: GainMaps, costs: Costs, price: float
) -> NDArray[np.int64]:
    """The exit that each text would take, int64 [n]."""
    leaves = worths(found, temperature, maps, costs) <= price
    return np.asarray(np.vstack([leaves, np.ones((1, leaves.shape[1]), bool)]).argmax(axis=0))


def worths(found: TokenAnswers, temperature: NDArray[np.float32], maps: GainMaps, costs: Costs) -> NDArray[np.float64]:
    """What going on from each exit but the last is worth to each text, float64 [K-1, n]."""
    scores = _probabilities(found, temperature).max(axis=2)
    return np.array(
        [
            worth(maps.gain[here], maps.edges[here, 1:-1], here, scores[here], costs.ahead(here, found.tokens[here]))
            for here in range(len(scores) - 1)
        ]
    )


def thresholds(
    found: Mapping[float, TokenAnswers], temperature: NDArray[np.float32], maps: GainMaps, costs: Costs
) -> Tables:
    """`knob_prices` and `knobs` from answers at every threshold, 0 among them; thresholds never fall with the price."""
    judge = softmax(found[0.0].logits[-1] / temperature[-1])
    menu = sorted(found)
    knobs, least = [0.0], 0
    for price in PRICES:
        values = [_value(found[drop], temperature, maps, costs, price, judge) for drop in menu[least:]]
        least += int(np.flatnonzero(np.array(values) == max(values))[-1])
        knobs.append(menu[least])
    steps = np.append(True, np.diff(knobs) > 0)
    prices = np.array([FULL, *PRICES])
    return {"knob_prices": prices[steps], "knobs": np.array(knobs, np.float32)[steps]}


def patience(found: TokenAnswers, temperature: NDArray[np.float32]) -> Tables:
    """`patience_prices` and `patience`: the exits in a row that must agree, dearest first."""
    probability = _probabilities(found, temperature)
    correct = expected_correctness(probability[-1], probability.argmax(axis=2).T)
    settings = list(range(len(probability) + 1, 0, -1))
    walks = [leaving(found, agreed) for agreed in settings]
    rows = np.arange(correct.shape[0])
    macs = np.array([found.macs[exits, rows].mean() for exits in walks])
    # The first exit's answer is the cheapest and always stands last, whatever the hull makes of it.
    prices, knobs = price_knobs(settings, macs, np.array([correct[rows, exits].mean() for exits in walks]))
    return {"patience_prices": prices, "patience": knobs}


def leaving(found: TokenAnswers, agreed: int) -> NDArray[np.int64]:
    """The exit at which so many in a row have said the same, or the last one: int64 [n]."""
    enough = found.streak >= agreed
    enough[-1] = True
    return np.asarray(enough.argmax(axis=0))


def tokens_of_words(words: NDArray[np.floating], tokens: NDArray[np.integer]) -> NDArray[np.float32]:
    """Slope and offset of the number of tokens over that of words, least squares."""
    return np.polyfit(words, tokens, 1).astype(np.float32)


def _value(
    found: TokenAnswers,
    temperature: NDArray[np.float32],
    maps: GainMaps,
    costs: Costs,
    price: float,
    judge: NDArray[np.float32],
) -> float:
    exits = exits_at(found, temperature, maps, costs, price)
    rows = np.arange(len(exits))
    said = found.logits.argmax(axis=2)[exits, rows]
    return float(judge[rows, said].mean() - price * found.macs[exits, rows].mean() / 1e9)


def _probabilities(found: TokenAnswers, temperature: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.stack([softmax(logits / divisor) for logits, divisor in zip(found.logits, temperature, strict=True)])
