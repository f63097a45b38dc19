"""Anytime answers: events as exits are reached, then the answer; leaving early stops the walk."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests import packages
from tests.conftest import StartServer
from tests.service import slow_package
from tests.service.test_cancellation import outcomes, until
from tests.service.wire import CLIENT, FULL_MACS, PREDICT, RED, Scrape, inputs, macs, noisy, post_json, problem

STREAM = {"Accept": "text/event-stream"}
Event = tuple[str, dict[str, Any]]


def events(response: httpx.Response) -> Iterator[Event]:
    """Events of a stream, as they come."""
    name = ""
    for line in response.iter_lines():
        if line.startswith("event: "):
            name = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield name, json.loads(line.removeprefix("data: "))


def stream(url: str, content: bytes = RED, query: str = "") -> list[Event]:
    """All events of one walk."""
    with CLIENT.stream("POST", f"{url}{PREDICT}{query}", content=content, headers=STREAM) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        return list(events(response))


def test_the_full_walk_shows_every_exit_and_then_the_answer(colours_server: str) -> None:
    told = stream(colours_server, query="?agreement=1")
    assert [name for name, _ in told] == ["exit", "exit", "exit", "final"]
    exits = [data for name, data in told if name == "exit"]
    assert [data["exit"] for data in exits] == list(packages.EXITS)
    assert [macs(data) for data in exits] == [1_000_000, 3_000_000, FULL_MACS]
    final = told[-1][1]
    assert final["exit"] == exits[-1]["exit"]
    assert final["output"] == exits[-1]["output"]
    assert macs(final) == FULL_MACS


@pytest.mark.parametrize("query", ["", "?latency_ms=60000", "?compute_mmacs=3.5"])
def test_a_stream_ends_where_the_plain_answer_does(colours_server: str, query: str) -> None:
    for file in noisy(6, seed=3)[0]:
        told = stream(colours_server, file, query)
        final = told[-1][1]
        plain = CLIENT.post(f"{colours_server}{PREDICT}{query}", content=file).json()
        assert (final["exit"], final["output"]) == (plain["exit"], plain["output"])
        assert [data["compute"]["stages"] for _, data in told[:-1]] == [
            final["compute"]["stages"][: place + 1] for place in range(len(told) - 1)
        ]


def test_what_fails_before_the_first_event_is_an_ordinary_problem(colours_server: str) -> None:
    broken = CLIENT.post(f"{colours_server}{PREDICT}", content=RED[:40], headers=STREAM)
    problem(broken, 400)
    impossible = CLIENT.post(f"{colours_server}{PREDICT}?compute_mmacs=0.1", content=RED, headers=STREAM)
    problem(impossible, 422)


def test_a_stream_follows_one_input(colours_server: str) -> None:
    two = post_json(colours_server, {"inputs": inputs(RED, RED)}, headers=STREAM)
    assert "one input" in problem(two, 400)["detail"]


@pytest.fixture(scope="module")
def slow_server(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server whose second stage takes its time."""
    # Slow enough for a busy client to leave in time.
    path = slow_package.write(tmp_path_factory.mktemp("slow"), "look", rounds=4 * slow_package.ROUNDS)
    with start_server("--models", str(path), OFFRAMP_LANES="1", OFFRAMP_MAX_BATCH_ROWS="1") as url:
        yield url


def test_whoever_stops_listening_pays_for_what_ran_and_no_more(slow_server: str) -> None:
    query = "?agreement=1&latency_ms=600000"
    with CLIENT.stream("POST", f"{slow_server}{PREDICT}{query}", content=RED, headers=STREAM) as response:
        name, first = next(events(response))
        assert name == "exit"
    until(lambda: outcomes(slow_server)["cancelled"] == 1)
    scrape = Scrape.of(slow_server)
    assert macs(first) <= scrape.total("offramp_wasted_macs_total", reason="cancelled") < FULL_MACS
    assert scrape.total("offramp_compute_macs_total") == 0
    assert outcomes(slow_server)["ok"] == 0
