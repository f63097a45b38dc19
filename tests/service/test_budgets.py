"""Budgets over HTTP: every carrier, every refusal by name, and what each kind does to the walk."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from tests import packages
from tests.service.wire import CLIENT, FULL_MACS, GREEN, PREDICT, RED, answer, inputs, macs, noisy, post, problem

MACS_TO_EXIT = [sum(packages.MACS[: place + 1]) for place in range(len(packages.MACS))]
ASKED = {"latency_ms": 60_000.0, "agreement": 0.9, "confidence": 0.9, "compute_mmacs": 5.0, "priority": 1}
HEADERS = {f"Offramp-{key.replace('_', '-').title()}": str(value) for key, value in ASKED.items()}


def send_json(url: str, text: str) -> httpx.Response:
    """JSON as written: the client's own encoder would refuse some of it."""
    return post(url, text.encode(), headers={"Content-Type": "application/json"})


def with_budget(url: str, budget: str) -> httpx.Response:
    return send_json(url, f'{{"inputs": {json.dumps(inputs(RED))}, "budget": {budget}}}')


def carried(url: str, carrier: str, budget: dict[str, Any]) -> httpx.Response:
    """A request with that budget in that place."""
    target = f"{url}{PREDICT}"
    if carrier == "query":
        return post(url, params=budget)
    if carrier == "headers":
        return post(url, headers={f"Offramp-{key.replace('_', '-')}": str(value) for key, value in budget.items()})
    if carrier == "form":
        return CLIENT.post(target, files={"file": RED}, data=budget)
    return with_budget(url, json.dumps(budget))


CARRIERS = ["query", "headers", "form", "json"]


@pytest.mark.parametrize("carrier", CARRIERS)
def test_a_budget_may_come_in_any_place(colours_server: str, carrier: str) -> None:
    assert answer(carried(colours_server, carrier, ASKED))["budget"]["asked"] == ASKED


def test_places_add_up(colours_server: str) -> None:
    shown = answer(post(colours_server, params={"latency_ms": 60_000}, headers={"offramp-compute-mmacs": "3"}))
    assert shown["budget"]["asked"] == {"latency_ms": 60_000.0, "compute_mmacs": 3.0}


def test_the_same_value_in_two_places_is_one(colours_server: str) -> None:
    shown = answer(post(colours_server, params={"compute_mmacs": 3}, headers={"offramp-compute-mmacs": "3.0"}))
    assert shown["budget"]["asked"] == {"compute_mmacs": 3.0}


def test_different_values_in_two_places_are_refused(colours_server: str) -> None:
    refused = problem(post(colours_server, params={"compute_mmacs": 3}, headers={"offramp-compute-mmacs": "4"}), 400)
    assert refused["key"] == "compute_mmacs"
    assert {"3.0", "4.0"} <= set(refused["detail"].split())


@pytest.mark.parametrize("carrier", CARRIERS)
def test_an_unknown_key_is_named(colours_server: str, carrier: str) -> None:
    refused = problem(carried(colours_server, carrier, {"latency_ms": 1000, "latency": 20}), 400)
    assert refused["key"] == "latency"
    assert "latency_ms" in refused["detail"], "what is known is offered"


def test_a_key_given_twice_in_one_place_is_named(colours_server: str) -> None:
    twice = [("priority", "1"), ("priority", "1")]
    assert problem(post(colours_server, params=twice), 400)["key"] == "priority"
    headers = [("Offramp-Priority", "1"), ("Offramp-Priority", "2")]
    assert problem(post(colours_server, headers=headers), 400)["key"] == "priority"
    assert (
        "'priority' stands twice" in problem(with_budget(colours_server, '{"priority":1,"priority":2}'), 400)["detail"]
    )


@pytest.mark.parametrize(
    ("key", "text"),
    [
        *[
            ("latency_ms", text)
            for text in ("0", "-1", "nan", "inf", "1e999", "20ms", "", "1_000", "0x10", "٣", "9" * 400)
        ],
        *[("accuracy", text) for text in ("1.01", "-0.1", "true", "NaN")],
        *[("agreement", "90%"), ("max_drop", "2"), ("compute_mmacs", "0")],
        *[("confidence", text) for text in ("1", "0.4")],
        *[("priority", text) for text in ("8", "-1", "3.0", "high", "9" * 400, "9" * 5000)],
        *[("on_miss", text) for text in ("", "retry", "FAIL")],
    ],
)
def test_bad_texts_are_refused_by_key(colours_server: str, key: str, text: str) -> None:
    assert problem(post(colours_server, params={key: text}), 400)["key"] == key


@pytest.mark.parametrize(
    "value", ["true", "false", '"20"', "NaN", "Infinity", "-Infinity", "1e999", "[]", "{}", "9" * 400, "-1", "0"]
)
def test_bad_json_values_are_refused_by_key(colours_server: str, value: str) -> None:
    assert problem(with_budget(colours_server, f'{{"latency_ms": {value}}}'), 400)["key"] == "latency_ms"


@pytest.mark.parametrize("value", ["true", '"3"', "3.5", "NaN", "9" * 30])
def test_a_bad_priority_in_json_is_refused(colours_server: str, value: str) -> None:
    assert problem(with_budget(colours_server, f'{{"priority": {value}}}'), 400)["key"] == "priority"


def test_null_asks_nothing(colours_server: str) -> None:
    assert answer(with_budget(colours_server, '{"accuracy": null}'))["budget"]["asked"] == {}


def test_without_a_budget_the_default_certificate_holds(colours_server: str) -> None:
    default = CLIENT.get(f"{colours_server}/v1/models/colours").json()["default"]
    shown = answer(post(colours_server))
    assert shown["budget"]["price"] == default["price"]
    assert (default["kind"], default["target"]) == ("agreement", 0.99)
    assert shown["reason"] in ("confident", "last")


def test_agreement_1_runs_the_full_network(colours_server: str) -> None:
    files, _ = noisy(12, seed=5)
    for file in [RED, *files]:
        shown = answer(post(colours_server, file, params={"agreement": 1}))
        assert shown["compute"]["fraction_of_full"] == 1
        assert (shown["exit"], shown["reason"]) == ("last", "last")
        assert shown["compute"]["stages"] == list(packages.STAGES)
        assert shown["budget"]["met"]


def test_a_lower_agreement_costs_less_and_is_right_about_as_often(colours_server: str) -> None:
    files, labels = noisy(60, seed=6)
    spent, right = {}, {}
    for target in (1.0, 0.9):
        shown = [answer(post(colours_server, file, params={"agreement": target})) for file in files]
        spent[target] = sum(map(macs, shown))
        right[target] = sum(one["output"]["label"] == label for one, label in zip(shown, labels, strict=True))
        assert len({one["budget"]["certificate"] for one in shown}) == 1
        assert all(one["budget"]["met"] and not one["budget"]["forced"] for one in shown)
    assert spent[1.0] == FULL_MACS * len(files)
    assert spent[0.9] < 0.8 * spent[1.0]
    assert right[1.0] >= 0.8 * len(files)
    assert right[0.9] >= right[1.0] - 0.2 * len(files)


@pytest.mark.parametrize("mmacs", [1, 1.5, 2.999999, 3, 7.9, 8, 100])
def test_a_compute_limit_is_never_passed_and_is_used(colours_server: str, mmacs: float) -> None:
    files, _ = noisy(6, seed=7)
    deepest = max(cost for cost in MACS_TO_EXIT if cost <= mmacs * 1e6)
    for file in files:
        shown = answer(post(colours_server, file, params={"compute_mmacs": mmacs}))
        assert macs(shown) == deepest, "without load, from 'full' upwards: as deep as the limit allows"
        assert shown["budget"]["met"]
        assert shown["reason"] == ("last" if deepest == FULL_MACS else "compute")
        assert shown["budget"]["forced"] == (deepest != FULL_MACS)


def test_a_compute_limit_below_the_first_exit_is_impossible_and_the_offer_is_good(colours_server: str) -> None:
    refused = problem(post(colours_server, params={"compute_mmacs": 0.99}), 422)
    assert refused["budget"] == "compute_mmacs"
    assert refused["asked"] == 0.99
    shown = answer(post(colours_server, params={"compute_mmacs": refused["best"]}))
    assert shown["exit"] == packages.EXITS[0]


@pytest.mark.parametrize("confidence", [0.95, 0.5, 0.9999])
def test_an_impossible_accuracy_is_refused_and_the_offer_is_good(colours_server: str, confidence: float) -> None:
    asked = {"accuracy": 0.9999, "confidence": confidence}
    refused = problem(post(colours_server, params=asked), 422)
    assert refused["budget"] == "accuracy"
    assert refused["asked"] == 0.9999
    assert 0.5 < refused["best"] < 0.9999
    shown = answer(post(colours_server, params={**asked, "accuracy": refused["best"]}))
    assert shown["budget"]["certificate"]
    problem(post(colours_server, params={**asked, "accuracy": refused["best"] + 2e-4}), 422)


def test_more_confidence_never_costs_less(colours_server: str) -> None:
    files, _ = noisy(20, seed=8)
    document: dict[str, Any] = {"inputs": inputs(*files)}
    spent = []
    for confidence in (0.5, 0.95, 0.999):
        document["budget"] = {"max_drop": 0.05, "confidence": confidence}
        response = CLIENT.post(f"{colours_server}{PREDICT}", json=document)
        spent.append(sum(map(macs, answer(response)["answers"])))
    assert spent == sorted(spent)


def test_certificates_are_of_what_was_asked(colours_server: str) -> None:
    asked = [{"agreement": 0.9}, {"agreement": 0.91}, {"max_drop": 0.1}, {"agreement": 0.9, "confidence": 0.9}]
    issued = [answer(post(colours_server, params=one))["budget"]["certificate"] for one in [*asked, asked[0]]]
    assert len(set(issued)) == 4
    assert issued[0] == issued[-1]


def test_a_target_behind_a_limit_that_forced_the_exit_is_not_met(colours_server: str) -> None:
    shown = answer(post(colours_server, params={"agreement": 1, "compute_mmacs": 3}))
    assert shown["exit"] == "middle"
    assert (shown["reason"], shown["budget"]["forced"], shown["budget"]["met"]) == ("compute", True, False)


def test_a_deadline_far_away_is_met(colours_server: str) -> None:
    shown = answer(post(colours_server, params={"latency_ms": 60_000}))
    assert shown["budget"]["met"]
    assert shown["timing_ms"]["total"] <= 60_000


def test_best_effort_answers_after_an_impossible_deadline_and_says_so(colours_server: str) -> None:
    shown = answer(post(colours_server, GREEN, params={"latency_ms": 0.001}))
    assert shown["output"]["label"] == "green"
    assert not shown["budget"]["met"]
    assert shown["exit"] == packages.EXITS[0], "no more than the first answer that there is"


def test_fail_is_answered_with_504(colours_server: str) -> None:
    refused = problem(post(colours_server, params={"latency_ms": 0.001, "on_miss": "fail"}), 504)
    assert refused["type"] == "urn:offramp:error:deadline-passed"
    assert refused["retryable"] is True


def test_fail_without_a_miss_is_an_answer(colours_server: str) -> None:
    assert answer(post(colours_server, params={"latency_ms": 60_000, "on_miss": "fail"}))["budget"]["met"]


@pytest.mark.parametrize("carrier", ["query", "form", "json"])
def test_explain_may_come_with_the_budget(colours_server: str, carrier: str) -> None:
    url = f"{colours_server}{PREDICT}"
    send = {
        "query": lambda: post(colours_server, params={"explain": "true"}),
        "form": lambda: CLIENT.post(url, files={"file": RED}, data={"explain": "1"}),
        "json": lambda: CLIENT.post(url, json={"inputs": inputs(RED), "explain": True}),
    }
    assert answer(send[carrier]())["walk"]


@pytest.mark.parametrize("query", ["explain=yes", "explain=", "explain=true&explain=false"])
def test_a_bad_explain_is_refused(colours_server: str, query: str) -> None:
    assert problem(post(colours_server, path=f"{PREDICT}?{query}"), 400)["key"] == "explain"
