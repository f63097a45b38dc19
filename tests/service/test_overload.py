"""The door: whoever can't be in time is refused before anything is spent, and everybody gets exactly one answer."""

from __future__ import annotations

import io
import socket
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.conftest import StartServer
from tests.service import slow_package
from tests.service.wire import (
    CLIENT,
    PREDICT,
    PROBLEM,
    RED,
    RawResponse,
    Scrape,
    answer,
    connection,
    inputs,
    post,
    post_json,
    problem,
    read_response,
    request_bytes,
)

CROWD = 120
URGENT = f"{PREDICT}?agreement=1&latency_ms=150"
CALM = f"{PREDICT}?agreement=1&latency_ms=600000"


@pytest.fixture(scope="module")
def narrow(start_server: StartServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with one lane that runs one slow row at a time."""
    slow = slow_package.write(tmp_path_factory.mktemp("slow"))
    one_by_one = {"OFFRAMP_MAX_BATCH_ROWS": "1", "OFFRAMP_LANES": "1", "OFFRAMP_DECODE_THREADS": "1"}
    with start_server("--models", str(slow), **one_by_one) as url:
        yield url


def ask(stack: ExitStack, url: str, path: str, *headers: str) -> socket.socket:
    """Send one request on a connection of its own."""
    wire = stack.enter_context(connection(url))
    wire.sendall(request_bytes(RED, "Content-Type: image/png", *headers, path=path))
    return wire


def response(wire: socket.socket) -> RawResponse:
    with wire.makefile("rb") as source:
        assert isinstance(source, io.BufferedIOBase)
        return read_response(source)


def counted(url: str, name: str) -> float:
    """A counter's sum; one without children is not in the page yet."""
    scrape = Scrape.of(url)
    return scrape.total(name) if name in scrape.samples else 0.0


def test_a_crowd_gets_one_answer_each_and_the_metrics_agree(narrow: str) -> None:
    refused, ended = counted(narrow, "offramp_refused_total"), counted(narrow, "offramp_requests_total")
    with ExitStack() as stack:
        wires = [ask(stack, narrow, URGENT) for _ in range(CROWD)]
        found = [response(wire) for wire in wires]
    statuses = Counter(one.status for one in found)
    assert set(statuses) <= {200, 503}
    assert statuses[503] > CROWD / 2
    assert counted(narrow, "offramp_refused_total") - refused == statuses[503]
    assert counted(narrow, "offramp_requests_total") - ended == CROWD
    for one in found:
        if one.status == 503:
            assert one.headers["content-type"] == PROBLEM
            assert int(one.headers["retry-after"]) >= 1
            assert one.headers["x-request-id"]


def test_a_refused_connection_serves_the_next_request_and_keeps_the_id(narrow: str) -> None:
    with ExitStack() as stack:
        calm = [ask(stack, narrow, URGENT) for _ in range(CROWD)]
        kept = stack.enter_context(connection(narrow))
        limit = time.monotonic() + 60
        while True:
            assert time.monotonic() < limit, "never refused"
            kept.sendall(request_bytes(RED, "Content-Type: image/png", "X-Request-Id: mine", path=URGENT))
            if (got := response(kept)).status == 503:
                break
        assert got.headers["x-request-id"] == "mine"
        kept.sendall(request_bytes(RED, "Content-Type: image/png", path=CALM))
        assert response(kept).status == 200
        assert {response(wire).status for wire in calm} <= {200, 503}


def test_the_patient_are_never_refused_at_the_door(narrow: str) -> None:
    with ExitStack() as stack:
        wires = [ask(stack, narrow, CALM) for _ in range(20)]
        assert {response(wire).status for wire in wires} == {200}


def test_health_and_other_routes_pass_the_door(narrow: str) -> None:
    with ExitStack() as stack:
        wires = [ask(stack, narrow, URGENT) for _ in range(CROWD)]
        assert CLIENT.get(f"{narrow}/healthz").text == "ok\n"
        assert {response(wire).status for wire in wires} <= {200, 503}


def test_requests_one_behind_another_on_one_connection_are_answered_in_order(narrow: str) -> None:
    with connection(narrow) as wire:
        calm = request_bytes(RED, "Content-Type: image/png", path=CALM)
        wire.sendall(calm + request_bytes(b"", path="/v1/models/no/predict") + calm)
        with wire.makefile("rb") as source:
            assert isinstance(source, io.BufferedIOBase)
            assert [read_response(source).status for _ in range(3)] == [200, 404, 200]


def test_the_last_response_is_closed_where_the_client_asks_for_it(narrow: str) -> None:
    with connection(narrow) as wire:
        wire.sendall(request_bytes(RED, "Content-Type: image/png", "Connection: close", path=CALM))
        assert response(wire).status == 200
        assert wire.recv(1) == b""


def test_one_broken_input_of_several_leaves_no_place_taken(colours_server: str) -> None:
    for _ in range(3):
        problem(post_json(colours_server, {"inputs": inputs(RED, b"\x89PNG\r\n\x1a\nbroken", RED)}), 400)
    answer(post(colours_server, RED))


def test_several_inputs_that_ask_for_the_impossible_are_all_counted(colours_server: str) -> None:
    before = counted(colours_server, "offramp_refused_total")
    problem(post_json(colours_server, {"inputs": inputs(RED, RED), "budget": {"compute_mmacs": 1e-6}}), 422)
    assert counted(colours_server, "offramp_refused_total") - before == 2
