"""Tables of a token-dropping encoder from what its exits say: which prices they cover, and at both ends."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from models.calibration import token_tables
from models.calibration.token_walks import TokenAnswers
from service.core import CHEAPEST, FULL
from service.routing.token_exit import Costs

LAYERS, TEXTS = 3, 400
COST = 1_000_000


class Line(Costs):
    """A token costs as much in each layer; nothing else costs anything."""

    def __init__(self) -> None:
        self.most = 64
        self._fixed = np.zeros(LAYERS + 1)
        self._each = np.arange(LAYERS + 1) * float(COST)


def told(drop: float, seed: int = 0) -> TokenAnswers:
    """Exits that get better with depth, and worse with what is dropped; a third of the texts is hard."""
    rng = np.random.default_rng(seed)
    hard = rng.random(TEXTS) < 0.3
    logits = np.zeros((LAYERS + 1, TEXTS, 2), np.float32)
    noise = rng.normal(size=(LAYERS + 1, TEXTS))
    for place in range(LAYERS + 1):
        clear = np.where(hard, 0.3 + place - drop, 3.0)
        logits[place, :, 1] = clear + noise[place]
    tokens = np.full((LAYERS + 1, TEXTS), 20, np.int32)
    tokens[1:] = round(20 * (1 - drop))
    macs = np.cumsum(np.concatenate([np.zeros((1, TEXTS)), tokens[1:] * COST]), axis=0).astype(np.int64)
    said = logits.argmax(axis=2)
    streak = np.ones((LAYERS + 1, TEXTS), np.int32)
    for place in range(1, LAYERS + 1):
        streak[place] = np.where(said[place] == said[place - 1], streak[place - 1] + 1, 1)
    return TokenAnswers(logits, tokens, macs, streak)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:  # type: ignore[type-arg]
    return np.ones(TEXTS, np.int64)


def test_the_full_price_drops_nothing_and_thresholds_rise(labels: np.ndarray) -> None:  # type: ignore[type-arg]
    found = {drop: told(drop) for drop in (0.0, 0.2, 0.6)}
    temperature = token_tables.temperatures(found[0.0], labels)
    maps = token_tables.gain_maps(found[0.0], temperature)
    tables = token_tables.thresholds(found, temperature, maps, Line())
    assert tables["knob_prices"][0] == FULL
    assert tables["knobs"][0] == 0
    assert (np.diff(tables["knobs"]) > 0).all()
    assert (np.diff(tables["knob_prices"]) > 0).all()
    assert set(tables["knobs"].tolist()) <= {0.0, *np.float32([0.2, 0.6]).tolist()}


def test_exits_fall_as_prices_rise(labels: np.ndarray) -> None:  # type: ignore[type-arg]
    plain = told(0.0)
    temperature = token_tables.temperatures(plain, labels)
    maps = token_tables.gain_maps(plain, temperature)
    taken = [
        token_tables.exits_at(plain, temperature, maps, Line(), price) for price in (FULL, 0.0, 1.0, 10.0, CHEAPEST)
    ]
    assert (taken[0] == LAYERS).all()
    assert (taken[-1] == 0).all()
    assert all((later <= earlier).all() for earlier, later in pairwise(taken))
    assert 0 < taken[2].mean() < LAYERS


def test_patience_goes_from_more_than_all_exits_to_one(labels: np.ndarray) -> None:  # type: ignore[type-arg]
    plain = told(0.0)
    tables = token_tables.patience(plain, token_tables.temperatures(plain, labels))
    assert tables["patience"][0] == LAYERS + 2
    assert tables["patience"][-1] == 1
    assert (np.diff(tables["patience"]) < 0).all()
    assert tables["patience_prices"][0] == FULL
    assert (token_tables.leaving(plain, LAYERS + 2) == LAYERS).all()
    assert (token_tables.leaving(plain, 1) == 0).all()


def test_tokens_are_guessed_by_a_line() -> None:
    words = np.array([3.0, 5.0, 10.0])
    np.testing.assert_allclose(token_tables.tokens_of_words(words, (2 * words + 1).astype(int)), [2, 1], atol=1e-5)
