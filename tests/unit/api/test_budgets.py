"""Budgets from texts, headers and JSON, and how they merge."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api import budgets
from service.core import Budget, OnMiss
from service.errors import Malformed

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "latency_ms": st.floats(1e-6, 3_600_000),
    "accuracy": st.floats(0, 1),
    "agreement": st.floats(0, 1),
    "max_drop": st.floats(0, 1),
    "confidence": st.floats(0.5, 0.999999),
    "compute_mmacs": st.floats(1e-6, 1e9),
    "priority": st.integers(0, 7),
    "on_miss": st.sampled_from(["best_effort", "fail"]),
}
ANY_BUDGET = st.fixed_dictionaries({}, optional=VALUES)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def header(key: str) -> str:
    return f"Offramp-{key.replace('_', '-')}"


def test_the_strategies_know_every_key() -> None:
    assert set(VALUES) == budgets.KEYS


@given(ANY_BUDGET)
def test_every_carrier_means_the_same(asked: dict[str, Any]) -> None:
    texts = [(key, str(value)) for key, value in asked.items()]
    from_query = budgets.merge(budgets.from_texts(texts, source="the query"))
    from_headers = budgets.merge(budgets.from_headers((header(key), text) for key, text in texts))
    assert from_query == from_headers == budgets.merge(asked)
    assert from_query.budget() == Budget(
        **{**asked, **({"on_miss": OnMiss(asked["on_miss"])} if "on_miss" in asked else {})}
    )


@given(ANY_BUDGET, st.data())
def test_places_add_up_in_any_split(asked: dict[str, Any], data: st.DataObject) -> None:
    here = data.draw(st.sets(st.sampled_from(sorted(asked)))) if asked else set()
    there = data.draw(st.sets(st.sampled_from(sorted(asked)))) if asked else set()
    rest = {key: asked[key] for key in asked if key not in here | there}
    parts = ({key: asked[key] for key in keys} for keys in (here, there))
    assert budgets.merge(*parts, rest) == budgets.merge(asked)


@given(st.sampled_from(["latency_ms", "compute_mmacs"]), st.floats(0.1, 1e3), st.floats(0.1, 1e3))
def test_two_values_for_one_key_are_refused(key: str, one: float, other: float) -> None:
    if one == other:
        assert getattr(budgets.merge({key: one}, {key: other}), key) == one
    else:
        with pytest.raises(Malformed) as refused:
            budgets.merge({key: one}, {key: other})
        assert refused.value.extra["key"] == key


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=()), max_size=12) | st.sampled_from(sorted(budgets.KEYS)),
        JSON,
        max_size=3,
    )
)
def test_whatever_json_asks_is_a_budget_or_refused_by_key(asked: dict[str, Any]) -> None:
    try:
        fields = budgets.merge(asked)
    except Malformed as refused:
        assert refused.extra["key"] in asked
        assert len(refused.detail) < 500
    else:
        for key, value in fields.model_dump().items():
            assert value == asked.get(key)
            assert not isinstance(value, bool)
            assert not isinstance(value, float) or math.isfinite(value)


@given(st.sampled_from(sorted(budgets.KEYS)), st.text(max_size=30))
def test_whatever_a_text_says_is_a_value_or_refused_by_key(key: str, text: str) -> None:
    try:
        fields = budgets.merge(budgets.from_texts([(key, text)], source="the query"))
    except Malformed as refused:
        assert refused.extra["key"] == key
    else:
        value = getattr(fields, key)
        assert value == (OnMiss(text) if key == "on_miss" else float(text))


@pytest.mark.parametrize("text", ["1_000", " 20", "20 ", "٣", "0x10", "nan", "infinity", "1e999", "", ".", "e5", "1,5"])
def test_a_text_that_is_no_plain_number(text: str) -> None:
    with pytest.raises(Malformed, match="no number"):
        budgets.from_texts([("latency_ms", text)], source="the query")


@pytest.mark.parametrize(
    ("text", "value"), [("20", 20), ("+2.5", 2.5), (".5", 0.5), ("1.", 1), ("2e3", 2000), ("007", 7)]
)
def test_a_text_that_is_a_plain_number(text: str, value: float) -> None:
    assert budgets.from_texts([("latency_ms", text)], source="the query") == {"latency_ms": value}


def test_headers_of_others_are_left_alone() -> None:
    pairs = [("Host", "x"), ("Accept", "*/*"), ("OFFRAMP-Priority", "1"), ("x-offramp-priority", "2")]
    assert budgets.from_headers(pairs) == {"priority": 1}


@pytest.mark.parametrize("name", ["Offramp-Latency", "Offramp-", "offramp-latency-ms-", "Offramp-Explain"])
def test_an_unknown_header_of_ours_is_refused(name: str) -> None:
    with pytest.raises(Malformed, match="known are"):
        budgets.from_headers([(name, "1")])


def test_a_long_unknown_key_is_cut_in_the_message() -> None:
    with pytest.raises(Malformed) as refused:
        budgets.from_texts([("x" * 10_000, "1")], source="the query")
    assert len(refused.value.detail) < 500
    with pytest.raises(Malformed) as refused:
        budgets.merge({"priority": 1}, {"priority": "x" * 10_000})
    assert len(refused.value.detail) < 500


def test_keys_of_others_are_left_alone() -> None:
    assert budgets.from_texts([("explain", "1")], source="the query", others=frozenset({"explain"})) == {}


@pytest.mark.parametrize(
    ("texts", "value"), [([], False), (["true"], True), (["TRUE"], True), (["1"], True), (["0"], False)]
)
def test_a_flag(texts: list[str], value: bool) -> None:
    assert budgets.flag(texts, source="the query") is value


@pytest.mark.parametrize("texts", [["yes"], [""], ["true", "true"]])
def test_a_bad_flag(texts: list[str]) -> None:
    with pytest.raises(Malformed, match="the query"):
        budgets.flag(texts, source="the query")
