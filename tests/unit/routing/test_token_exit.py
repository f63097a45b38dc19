"""Dropping tokens and leaving early, by hand: which tokens go on, what going on is worth, and both ends of the path."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from service.core import CHEAPEST, FULL
from service.errors import PackageError
from service.package.graph import StageGraph
from service.package.load import Package, load
from service.package.manifest import Manifest
from service.routing.base import LEAVE, build
from service.routing.token_exit import Costs, TokenExit, kept

Arrays = dict[str, NDArray[Any]]
TOKENS = 6
BAG, EMBED, PROJECT, ATTEND, TRANSFORM, EXIT = range(6)
MACS = {"bag": 10, "embed": 0, "project1": 1_000_000, "attend1": 300_000, "transform1": 3_000_000, "exit1": 100_000}
TABLES: Arrays = {
    "temperature": np.array([1.0, 2.0], np.float32),
    "gain_edges": np.array([[0.5, 0.8, 1.0]], np.float32),
    "gain": np.array([[[0.0, 0.0], [0.2, 0.01]]], np.float32),
    "knob_prices": np.array([-np.inf, 0.5, 50.0]),
    "knobs": np.array([0.0, 0.3, 0.9], np.float32),
    "tokens_of_words": np.array([1.0, 2.0], np.float32),
    "patience_prices": np.array([-np.inf, 0.0, 1.0]),
    "patience": np.array([3.0, 2.0, 1.0], np.float32),
}


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


def encoder(package: Package, *, rule: str = "confidence", tables: Mapping[str, Any] | None = None) -> Package:
    """The package as an encoder of one layer, whatever its graphs are: routers see none of them."""
    ports: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "bag": ({"ngrams": {"glimpse": "ngrams", "count": 8, "buckets": 99}}, {"words": "state", "streak": "state"}),
        "embed": ({"words": "state"}, {"h": "state", "kept0": "state"}),
        "project1": ({"h": "rows"}, {"qkv": "rows"}),
        "attend1": ({"qkv": "state", "kept0": "state"}, {"mixed": "state", "received": "state"}),
        "transform1": ({"mixed": "rows"}, {"kept1": "rows"}),
        "exit1": ({"kept1": "state", "streak": "state"}, {"streak_next": {"state": "streak"}, "still": "state"}),
    }
    names = list(MACS)
    stages = [
        {
            "name": name,
            "graph": "glance.onnx",
            "sha256": "0" * 64,
            "macs_per_row": MACS[name],
            "inputs": inputs,
            "outputs": outputs | ({"logits": "answer"} if name in ("bag", "exit1") else {}),
            "exit": f"{name}-exit" if name in ("bag", "exit1") else None,
            "next": names[place + 1 : place + 2],
            **({"ragged": TOKENS} if name in ("project1", "transform1") else {}),
        }
        for place, (name, (inputs, outputs)) in enumerate(ports.items())
    ]
    manifest = package.manifest.model_dump() | {
        "modality": "text",
        "stages": stages,
        "zeros": ["kept1"],
        "router": {"name": "token-exit", "parameters": {"rule": rule}},
    }
    valid = Manifest.model_validate(manifest)
    return dataclasses.replace(
        package, manifest=valid, graph=StageGraph.of(valid.stages), tables=TABLES | dict(tables or {})
    )


@pytest.fixture(scope="module")
def router(package: Package) -> TokenExit:
    made = build(encoder(package))
    assert isinstance(made, TokenExit)
    return made


def bag(*probabilities: float, words: float = 3.0, agreed: float = 1.0) -> Arrays:
    """What the bag says: how sure it is of the first class."""
    sure = np.array(probabilities, np.float32)
    rows = len(sure)
    return {
        "logits": np.log(np.stack([sure, 1 - sure], axis=1)),
        "words": np.full((rows, 1), words, np.float32),
        "streak": np.full((rows, 1), agreed, np.float32),
    }


def test_tokens_that_got_enough_attention_are_kept_most_first_and_the_first_always() -> None:
    received = np.array([0.1, 0.5, 0.9, 0.2, -1.0, -1.0], np.float32)
    assert kept(received, 0.0).tolist() == [0, 2, 1, 3]
    assert kept(received, 0.3).tolist() == [0, 2, 1]
    assert kept(received, 2.0).tolist() == [0]
    assert kept(received, -3.0).tolist() == [0, 2, 1, 3]


def test_the_price_sets_the_threshold(router: TokenExit) -> None:
    received = np.array([[3.0, 0.5, 0.95, 0.2, -1.0, -1.0]], np.float32).repeat(3, axis=0)
    routing = router.route(ATTEND, {"received": received, "mixed": received}, np.array([FULL, 1.0, 100.0]))
    assert routing.next.tolist() == [TRANSFORM] * 3
    assert routing.picks is not None
    assert [some.tolist() for some in routing.picks if some is not None] == [[0, 2, 1, 3], [0, 2, 1], [0, 2]]
    assert routing.signals is not None
    assert routing.signals["tokens"].tolist() == [4, 3, 2]
    assert routing.signals["kept"].tolist() == [[1, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0], [1, 0, 1, 0, 0, 0]]


def test_all_tokens_of_a_text_go_into_the_first_layer_and_tell_its_full_walk(router: TokenExit) -> None:
    mask = np.array([[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0]], np.float32)[:, :, None]
    routing = router.route(EMBED, {"h": mask, "kept0": mask}, np.array([0.0, CHEAPEST]))
    assert routing.picks is not None
    assert [some.tolist() for some in routing.picks if some is not None] == [[0, 1, 2], [0, 1, 2, 3, 4]]
    assert routing.full is not None
    assert routing.full.tolist() == [10 + 400_000 + 4_000_000 * 3, 10 + 400_000 + 4_000_000 * 5]


def test_going_on_is_worth_its_gain_over_what_this_text_costs(router: TokenExit) -> None:
    short = router.route(BAG, bag(0.6, 0.9, words=1.0), np.zeros(2))
    long = router.route(BAG, bag(0.6, 0.9, words=3.0), np.zeros(2))
    assert short.worth is not None
    assert long.worth is not None
    np.testing.assert_allclose(short.worth, np.array([0.2, 0.01]) / (0.4e-3 + 4e-3 * 3), rtol=1e-6)
    np.testing.assert_allclose(long.worth, np.array([0.2, 0.01]) / (0.4e-3 + 4e-3 * 5), rtol=1e-6)
    assert long.full is not None
    assert long.full.tolist() == [10 + 400_000 + 4_000_000 * 5] * 2


def test_rows_leave_from_their_worth_on(router: TokenExit) -> None:
    worth = router.route(BAG, bag(0.6), np.zeros(1)).worth
    assert worth is not None
    outputs = bag(*[0.6] * 4)
    prices = np.array([FULL, np.nextafter(worth[0], 0), worth[0], CHEAPEST])
    assert router.route(BAG, outputs, prices).next.tolist() == [EMBED, EMBED, LEAVE, LEAVE]


def test_the_last_exit_is_the_last(router: TokenExit) -> None:
    logits = np.array([[2.0, 0.0]], np.float32)
    outputs = {"logits": logits, "still": np.ones((1, TOKENS, 1), np.float32), "streak_next": np.ones((1, 1))}
    routing = router.route(EXIT, outputs, np.array([FULL]))
    assert routing.next.tolist() == [LEAVE]
    assert routing.worth is not None
    assert routing.worth.tolist() == [-np.inf]
    assert routing.answer is not None
    np.testing.assert_allclose(routing.answer[0, 0], 1 / (1 + np.exp(-1)), rtol=1e-6)


def test_patience_leaves_when_enough_exits_agree(package: Package) -> None:
    patient = build(encoder(package, rule="patience"))
    for agreed, prices in ((1.0, [FULL, 0.0, 0.99, 1.0, CHEAPEST]), (2.0, [FULL, -0.1, 0.0, 1.0, CHEAPEST])):
        routing = patient.route(BAG, bag(*[0.6] * 5, agreed=agreed), np.array(prices))
        expected = [EMBED, EMBED, EMBED, LEAVE, LEAVE] if agreed == 1 else [EMBED, EMBED, LEAVE, LEAVE, LEAVE]
        assert routing.next.tolist() == expected


def test_costs_are_of_the_tokens_ahead(package: Package) -> None:
    costs = Costs(encoder(package).graph)
    assert costs.most == TOKENS
    np.testing.assert_allclose(costs.ahead(0, np.array([0.0, 2.0])), [[0.4e-3, 8.4e-3]])


@pytest.mark.parametrize(
    ("name", "table", "said"),
    [
        ("temperature", np.ones(3, np.float32), "temperature"),
        ("gain", np.full((1, 2, 2), np.nan, np.float32), "finite"),
        ("tokens_of_words", np.ones(3, np.float32), "tokens_of_words"),
        ("knobs", np.ones(2, np.float32), "one length"),
    ],
)
def test_tables_that_dont_fit_are_named(package: Package, name: str, table: NDArray[Any], said: str) -> None:
    with pytest.raises(PackageError, match=said):
        build(encoder(package, tables={name: table}))


def test_patience_that_could_stop_the_full_walk_is_refused(package: Package) -> None:
    with pytest.raises(PackageError, match="above the number of exits"):
        build(encoder(package, rule="patience", tables={"patience": np.array([2.0, 1.5, 1.0], np.float32)}))


def test_an_unknown_rule_is_named(package: Package) -> None:
    with pytest.raises(PackageError, match="no rule 'haste'"):
        build(encoder(package, rule="haste"))
