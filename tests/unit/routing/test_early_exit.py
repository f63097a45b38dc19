"""Leaving early: by hand, at the ends of the price path, and for any tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from service.core import CHEAPEST, FULL
from service.errors import PackageError
from service.package.load import Package, load
from service.routing.base import LEAVE, Routing, build
from service.routing.early_exit import EarlyExit, softmax, worth
from tests.packages import EXITS, LABELS, MACS, all_logits, pictures, write_colours

Arrays = dict[str, NDArray[Any]]

# Two bins, parted at the score 0.8; one unit of gain in the first bin costs 1 and 6 MMACs more than exit 0.
BY_HAND: Arrays = {
    "temperature": np.array([1.0, 2.0, 1.0], np.float32),
    "gain_edges": np.array([[0.0, 0.8, 1.0], [0.0, 0.5, 1.0]], np.float32),
    "gain": np.array(
        [[[0, 0], [0.10, 0.01], [0.14, -0.02]], [[0, 0], [0, 0], [0.05, -0.01]]],
        np.float32,
    ),
    "exit_macs": np.cumsum(MACS),
}


@pytest.fixture(scope="module")
def package(colours: Path) -> Package:
    return load(colours)


@pytest.fixture(scope="module")
def by_hand(package: Package) -> EarlyExit:
    return EarlyExit(dataclasses.replace(package, tables=BY_HAND))


def scored(score: float) -> NDArray[np.float32]:
    """Logits of one row whose largest probability, at temperature 1, is `score`; the others share the rest."""
    rest = (1 - score) / (len(LABELS) - 1)
    return np.log(np.array([[rest, score, rest]], np.float32))


def route(router: EarlyExit, stage: int, logits: NDArray[np.float32], price: float) -> Routing:
    return router.route(stage, {f"logits{stage}": logits}, np.full(len(logits), price))


def test_worth_is_the_best_gain_by_gmac() -> None:
    # From exit 0: 0.10 for 2 MMACs is 50 a GMAC, 0.14 for 7 only 20. In the second bin 0.01 for 2 MMACs is 5.
    found = worth(BY_HAND["gain"], BY_HAND["exit_macs"])
    assert found == pytest.approx(np.array([[50.0, 5.0], [10.0, 0.0]]))


@pytest.mark.parametrize(
    ("score", "price", "goes_on"),
    [
        (0.7, 0.0, True),
        (0.7, 49.0, True),
        (0.7, 51.0, False),
        (0.9, 4.9, True),
        (0.9, 5.1, False),
        (0.81, 5.1, False),
        (0.79, 5.1, True),
    ],
)
def test_a_row_goes_on_while_that_is_worth_the_price(
    by_hand: EarlyExit, score: float, price: float, goes_on: bool
) -> None:
    routing = route(by_hand, 0, scored(score), price)
    assert routing.next.tolist() == [1 if goes_on else LEAVE]
    assert routing.worth is not None
    assert (routing.worth[0] > price) == goes_on


def test_a_row_leaves_where_going_on_is_worth_no_more_than_the_price(by_hand: EarlyExit) -> None:
    exactly = float(worth(BY_HAND["gain"], BY_HAND["exit_macs"])[0, 0])
    assert route(by_hand, 0, scored(0.7), exactly).next.tolist() == [LEAVE]


def test_nothing_to_gain_is_not_paid_for_even_with_nothing(by_hand: EarlyExit) -> None:
    assert route(by_hand, 1, scored(0.9), 0.0).next.tolist() == [LEAVE]
    assert route(by_hand, 1, scored(0.9), FULL).next.tolist() == [2]


def test_scores_beyond_the_bins_fall_into_the_outermost(package: Package) -> None:
    narrow = BY_HAND | {"gain_edges": np.array([[0.75, 0.8, 0.85], [0.4, 0.5, 0.6]], np.float32)}
    router = EarlyExit(dataclasses.replace(package, tables=narrow))
    rows = np.concatenate([scored(score) for score in (0.4, 0.76, 0.84, 0.99)])
    assert route(router, 0, rows, 20.0).next.tolist() == [1, 1, LEAVE, LEAVE]


def test_the_answer_is_calibrated_by_the_exit_s_temperature(by_hand: EarlyExit) -> None:
    logits = np.array([[2.0, 0.0, 0.0], [0.0, -4.0, 4.0]], np.float32)
    for stage, temperature in enumerate(BY_HAND["temperature"]):
        routing = route(by_hand, stage, logits, 0.0)
        expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum(axis=1, keepdims=True)
        assert routing.answer == pytest.approx(expected, rel=1e-6)
        assert routing.score == pytest.approx(expected.max(axis=1), rel=1e-6)


def test_softmax_takes_large_logits() -> None:
    assert softmax(np.array([[1e4, 0.0], [-1e4, -1e4]], np.float32)).tolist() == [[1.0, 0.0], [0.5, 0.5]]


def test_every_row_has_its_own_price(by_hand: EarlyExit) -> None:
    rows = scored(0.7).repeat(4, axis=0)
    routing = by_hand.route(0, {"logits0": rows}, np.array([FULL, 0.0, 60.0, CHEAPEST]))
    assert routing.next.tolist() == [1, 1, LEAVE, LEAVE]


def test_tables_decide_what_real_pictures_do(package: Package) -> None:
    """At price 0 every exit is taken by some; the exits of the record are those that the router gives."""
    exits = walk(EarlyExit(package), all_logits(pictures(400, seed=7)[0]), 0.0)
    assert sorted(set(exits.tolist())) == [0, 1, 2]


def walk(router: EarlyExit, logits: NDArray[np.float32], price: float) -> NDArray[np.int64]:
    """The exit that each row takes, int64 [rows]; logits float32 [exits, rows, classes]."""
    leaves = np.stack([route(router, stage, logits[stage], price).next == LEAVE for stage in range(len(logits))])
    return leaves.argmax(axis=0)


@st.composite
def routers(draw: st.DrawFn, package: Package) -> EarlyExit:
    """A router with any tables for the package's exits."""
    exits, bins = len(EXITS), draw(st.integers(1, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tables = {
        "temperature": rng.uniform(0.2, 5.0, exits).astype(np.float32),
        "gain_edges": np.sort(rng.uniform(0.3, 1.0, (exits - 1, bins + 1)).astype(np.float32), axis=1),
        "gain": rng.normal(0.0, 0.3, (exits - 1, exits, bins)).astype(np.float32),
        "exit_macs": np.cumsum(MACS),
    }
    return EarlyExit(dataclasses.replace(package, tables=tables))


LOGITS = st.integers(0, 2**32 - 1).map(
    lambda seed: np.random.default_rng(seed).normal(0, 3, (len(EXITS), 40, len(LABELS))).astype(np.float32)
)
PRICES = st.floats(0.0, 1e6) | st.sampled_from([FULL, CHEAPEST])


@settings(max_examples=50)
@given(data=st.data(), logits=LOGITS, prices=st.tuples(PRICES, PRICES).map(sorted))
def test_a_higher_price_never_lets_a_row_stay_longer(
    package: Package, data: st.DataObject, logits: NDArray[np.float32], prices: list[float]
) -> None:
    router = data.draw(routers(package))
    assert np.all(walk(router, logits, prices[0]) >= walk(router, logits, prices[1]))


@settings(max_examples=50)
@given(data=st.data(), logits=LOGITS)
def test_the_ends_of_the_path_are_the_whole_network_and_the_first_exit(
    package: Package, data: st.DataObject, logits: NDArray[np.float32]
) -> None:
    router = data.draw(routers(package))
    assert set(walk(router, logits, FULL).tolist()) == {len(EXITS) - 1}
    assert set(walk(router, logits, CHEAPEST).tolist()) == {0}


@settings(max_examples=50)
@given(data=st.data(), logits=LOGITS, price=PRICES)
def test_worth_is_the_price_from_which_on_a_row_leaves(
    package: Package, data: st.DataObject, logits: NDArray[np.float32], price: float
) -> None:
    router = data.draw(routers(package))
    for stage in range(len(EXITS)):
        routing = route(router, stage, logits[stage], price)
        assert routing.worth is not None
        last = stage == len(EXITS) - 1
        stays = np.zeros(len(logits[stage]), bool) if last else (routing.worth > price) | (price == FULL)
        assert ((routing.next != LEAVE) == stays).all()
        assert (routing.worth == -np.inf).all() == last


@settings(max_examples=50)
@given(data=st.data(), logits=LOGITS, rows=st.lists(st.integers(0, 39), min_size=1, max_size=9))
def test_a_row_is_routed_alike_in_any_company(
    package: Package, data: st.DataObject, logits: NDArray[np.float32], rows: list[int]
) -> None:
    router, prices = data.draw(routers(package)), np.geomspace(0.1, 1000, 40)
    for stage in range(len(EXITS)):
        whole = router.route(stage, {f"logits{stage}": logits[stage]}, prices)
        some = router.route(stage, {f"logits{stage}": logits[stage, rows]}, prices[rows])
        assert whole.answer is not None
        assert whole.score is not None
        assert np.array_equal(some.next, whole.next[rows])
        assert np.array_equal(some.answer, whole.answer[rows])
        assert np.array_equal(some.score, whole.score[rows])


def test_routing_changes_nothing_that_it_was_given(by_hand: EarlyExit) -> None:
    logits, prices = scored(0.7).repeat(3, axis=0), np.array([0.0, 60.0, FULL])
    copies = logits.copy(), prices.copy()
    by_hand.route(0, {"logits0": logits}, prices)
    assert np.array_equal(logits, copies[0])
    assert np.array_equal(prices, copies[1])


def nan_in_last(array: NDArray[Any]) -> NDArray[Any]:
    changed = array.astype(np.float64)
    changed.flat[-1] = np.nan
    return changed


@pytest.mark.parametrize(
    ("table", "change"),
    [
        *((table, lambda a: None) for table in BY_HAND),
        *((table, lambda a: a[:-1]) for table in BY_HAND),
        *((table, lambda a: a[..., :-1]) for table in BY_HAND),
        *((table, lambda a: a[None]) for table in BY_HAND),
        *((table, lambda a: np.float32(1)) for table in BY_HAND),
        *((table, nan_in_last) for table in BY_HAND),
        ("temperature", lambda a: a * 0),
        ("temperature", lambda a: -a),
        ("temperature", lambda a: a / np.float32(1e-45)),
        ("gain_edges", lambda a: a[:, ::-1]),
        ("gain", lambda a: a + np.inf),
        ("gain", lambda a: a[..., :0]),
        ("exit_macs", lambda a: a[::-1]),
        ("exit_macs", lambda a: a + 1),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_tables_that_don_t_fit_are_refused(tmp_path: Path, table: str, change: Callable[[Any], Any]) -> None:
    package = load(write_colours(tmp_path, arrays=BY_HAND | {table: change(BY_HAND[table])}))
    with pytest.raises(PackageError) as caught:
        build(package)
    # A gain map with another number of bins may as well be told as edges that don't fit it.
    assert caught.value.field == table or {caught.value.field, table} == {"gain", "gain_edges"}
    assert caught.value.file == str(package.path / "calibration.npz")
    assert "recipe" in caught.value.remedy


def without_exit(content: dict[str, Any]) -> None:
    content["stages"][1] |= {"exit": None, "outputs": {"seen1": "state"}}


def with_a_leap(content: dict[str, Any]) -> None:
    content["stages"][0]["next"] = ["look", "stare"]
    content["stages"][2]["inputs"] = {"rows": "state", "seen0": "state"}


def free_of_cost(content: dict[str, Any]) -> None:
    content["stages"][2]["macs_per_row"] = 0


@pytest.mark.parametrize("change", [without_exit, with_a_leap])
def test_stages_that_are_no_chain_of_exits_are_refused(
    package: Package, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    exits = np.minimum(package.record.exits, 1)
    arrays = {"exits": exits, "routes": np.array([[1, 0, 0], [1, 1, 1]], np.uint8), "route": exits}
    other = load(write_colours(tmp_path, manifest=change, arrays=arrays))
    with pytest.raises(PackageError, match="chain with an exit after every stage") as caught:
        build(other)
    assert caught.value.field == "stages"


def test_a_stage_that_costs_nothing_has_no_price(package: Package, tmp_path: Path) -> None:
    exit_macs = np.cumsum([*MACS[:2], 0])
    arrays = {"exit_macs": exit_macs, "macs": exit_macs[package.record.exits]}
    with pytest.raises(PackageError, match="exit_macs: must rise"):
        build(load(write_colours(tmp_path, manifest=free_of_cost, arrays=arrays)))


def test_one_exit_is_a_chain_too(package: Package) -> None:
    only = dataclasses.replace(
        package.graph, names=("glance",), macs=MACS[:1], after=((),), exits=EXITS[:1], exit_of=(0,)
    )
    tables = {
        "temperature": np.ones(1),
        "gain_edges": np.zeros((0, 2)),
        "gain": np.zeros((0, 1, 1)),
        "exit_macs": np.array(MACS[:1]),
    }
    router = EarlyExit(dataclasses.replace(package, graph=only, tables=tables))
    assert route(router, 0, scored(0.7), FULL).next.tolist() == [LEAVE]
