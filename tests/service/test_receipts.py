"""What an answer says of itself: its walk, its costs, its headers."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests import packages
from tests.service.wire import CLIENT, FULL_MACS, RED, answer, inputs, macs, noisy, post, post_json, problem

BUDGETS: list[dict[str, Any]] = [{}, {"agreement": 1}, {"agreement": 0.9}, {"compute_mmacs": 3}, {"latency_ms": 60_000}]


def timing(header: str) -> dict[str, float]:
    """`Server-Timing` as durations by name."""
    return {name: float(ms) for name, ms in re.findall(r"(\w+);dur=([\d.e+-]+)", header)}


@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_the_walk_and_the_receipt_tell_the_same_story(colours_server: str, budget: dict[str, Any]) -> None:
    model = CLIENT.get(f"{colours_server}/v1/models/colours").json()
    cost = {stage["name"]: round(stage["mmacs"] * 1e6) for stage in model["stages"]}
    for file in noisy(8, seed=11)[0]:
        shown = answer(post(colours_server, file, params={**budget, "explain": True}))
        walk = shown["walk"]
        assert [step["stage"] for step in walk] == shown["compute"]["stages"]
        assert sum(cost[step["stage"]] for step in walk) == macs(shown)
        assert shown["compute"]["fraction_of_full"] == macs(shown) / FULL_MACS
        assert [step["verdict"] for step in walk] == ["go on"] * (len(walk) - 1) + [shown["reason"]]
        assert walk[-1]["exit"] == shown["exit"]
        assert walk[-1]["price"] == shown["budget"]["price"]
        device = sum(step["stage_ms"] / step["batch_rows"] for step in walk)
        assert shown["compute"]["device_ms"] == pytest.approx(device, rel=1e-3, abs=1e-3)
        assert shown["timing_ms"]["queue"] == pytest.approx(sum(step["queue_ms"] for step in walk), rel=1e-3, abs=1e-3)


def test_without_explain_there_is_no_walk(colours_server: str) -> None:
    assert "walk" not in answer(post(colours_server))


def test_probabilities_are_ranked_and_sum_to_one(colours_server: str) -> None:
    for file in noisy(8, seed=12)[0]:
        output = answer(post(colours_server, file))["output"]
        probabilities = [one["probability"] for one in output["top"]]
        assert {one["label"] for one in output["top"]} == set(packages.LABELS)
        assert probabilities == sorted(probabilities, reverse=True)
        assert sum(probabilities) == pytest.approx(1, abs=1e-5)
        assert output["top"][0] == {key: output[key] for key in ("label", "probability")}


def test_the_receipt_names_model_and_version(colours_server: str) -> None:
    shown = answer(post(colours_server))
    assert (shown["model"], shown["version"]) == ("colours", "1.0.0")


def test_times_are_in_the_header_too(colours_server: str) -> None:
    response = post(colours_server)
    shown = answer(response)["timing_ms"]
    assert timing(response.headers["server-timing"]) == pytest.approx(shown, rel=1e-4)
    assert shown["total"] + 1e-3 >= shown["decode"] + shown["queue"] + shown["compute"]


def test_the_header_tells_of_the_slowest_of_several(colours_server: str) -> None:
    response = post_json(colours_server, {"inputs": inputs(*[RED] * 5)})
    slowest = max(one["timing_ms"]["total"] for one in answer(response)["answers"])
    assert timing(response.headers["server-timing"])["total"] == pytest.approx(slowest, rel=1e-4)


@pytest.mark.parametrize("given", ["a", "0f8fad5b-d9cb-469f-a165-70867728950e", "trace:1.2_3", "x" * 128])
def test_a_sane_request_id_comes_back(colours_server: str, given: str) -> None:
    assert post(colours_server, headers={"X-Request-Id": given}).headers["x-request-id"] == given
    refused = post(colours_server, b"", headers={"X-Request-Id": given})
    problem(refused, 400)
    assert refused.headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "<script>", "a\tb", "é".encode("latin-1")])
def test_any_other_request_id_is_replaced(colours_server: str, given: str | bytes) -> None:
    response = CLIENT.get(f"{colours_server}/healthz", headers={"X-Request-Id": given})
    assert re.fullmatch("[0-9a-f]{32}", response.headers["x-request-id"])


def test_ids_differ_from_request_to_request(colours_server: str) -> None:
    ids = {
        CLIENT.get(f"{colours_server}{path}").headers["x-request-id"] for path in ("/healthz", "/readyz", "/nowhere")
    }
    assert len(ids) == 3


def test_the_model_shows_its_certified_curve(colours_server: str) -> None:
    model = CLIENT.get(f"{colours_server}/v1/models/colours").json()
    assert model["full_mmacs"] * 1e6 == FULL_MACS
    assert model["exits"] == list(packages.EXITS)
    assert [stage["name"] for stage in model["stages"]] == list(packages.STAGES)
    curve = model["curve"]
    assert (curve[0]["price"], curve[-1]["price"]) == ("full", "cheapest")
    assert curve[0]["fraction_of_full"] == 1
    assert [point["mean_mmacs"] for point in curve] == sorted((p["mean_mmacs"] for p in curve), reverse=True)
    assert all(point["certified"]["accuracy"] < point["accuracy"] for point in curve)
    listed = CLIENT.get(f"{colours_server}/v1/models").json()["models"]
    assert [(one["name"], one["state"]) for one in listed] == [("colours", "ready")]
