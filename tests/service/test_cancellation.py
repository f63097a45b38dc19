"""Clients that leave: their walks end, what ran is counted, their places are free again."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import StartServer
from tests.service import slow_package
from tests.service.wire import (
    CLIENT,
    FULL_MACS,
    GREEN,
    PREDICT,
    RED,
    Scrape,
    answer,
    connection,
    post,
    problem,
    request_bytes,
)

PLACES = 6
FULL = f"{PREDICT}?agreement=1&latency_ms=600000"
ONE_BY_ONE = {"OFFRAMP_MAX_IN_FLIGHT": str(PLACES), "OFFRAMP_MAX_BATCH_ROWS": "1", "OFFRAMP_LANES": "1"}


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package whose first stage takes its time."""
    return slow_package.write(tmp_path_factory.mktemp("slow"))


@pytest.fixture(scope="module")
def narrow(start_server: StartServer, slow: Path) -> Iterator[str]:
    """A server with one lane that runs one row at a time, and few places."""
    with start_server("--models", str(slow), **ONE_BY_ONE) as url:
        yield url


def outcomes(url: str) -> Counter[str]:
    """Inputs by how they ended."""
    return Counter({name: int(n) for (name,), n in Scrape.of(url).by("offramp_requests_total", "outcome").items()})


def ran(url: str) -> float:
    """MACs that ran, for answers or for nothing."""
    scrape = Scrape.of(url)
    return scrape.total("offramp_compute_macs_total") + scrape.total("offramp_wasted_macs_total")


def until(reached: Callable[[], bool]) -> None:
    """Wait for something that has to come; the limit is only there to end the test."""
    limit = time.monotonic() + 120
    while not reached():
        assert time.monotonic() < limit, "it never came"
        time.sleep(0.05)


def leave_at_once(url: str, count: int) -> None:
    """Send that many whole requests, then close all connections without reading."""
    with ExitStack() as stack:
        wires = [stack.enter_context(connection(url)) for _ in range(count)]
        for wire in wires:
            wire.sendall(request_bytes(RED, path=FULL))


def test_who_leaves_is_counted_and_makes_room(narrow: str) -> None:
    before, rounds = outcomes(narrow), 4
    for turn in range(1, rounds + 1):
        leave_at_once(narrow, PLACES)
        until(lambda: (outcomes(narrow) - before).total() == turn * PLACES)  # noqa: B023 - called within the turn
    ended = outcomes(narrow) - before
    assert ended["cancelled"] >= rounds * (PLACES - 2), "one lane can't have answered more in that time"
    assert set(ended) <= {"cancelled", "ok"}

    scrape = Scrape.of(narrow)
    assert scrape.total("offramp_wasted_macs_total", reason="cancelled") < ended["cancelled"] * FULL_MACS
    assert scrape.total("offramp_compute_macs_total") == scrape.total("offramp_request_compute_macs_sum")

    with ThreadPoolExecutor(PLACES) as threads:  # as many as there are places
        again = list(threads.map(lambda _: post(narrow, GREEN, path=FULL), range(PLACES)))
    assert [answer(one)["output"]["label"] for one in again] == ["green"] * PLACES


def test_who_leaves_while_sending_is_counted_and_breaks_nothing(narrow: str) -> None:
    before, spent = outcomes(narrow), ran(narrow)
    for sent in (0, len(RED) // 2):
        with connection(narrow) as wire:
            wire.sendall(request_bytes(RED[:sent], path=FULL, length=len(RED)))
            until(lambda: CLIENT.get(f"{narrow}/healthz").status_code == 200)
    until(lambda: outcomes(narrow) - before == {"cancelled": 2})
    assert ran(narrow) == spent
    answer(post(narrow, GREEN, path=FULL))


def test_more_than_there_are_places_are_told_to_come_back(narrow: str) -> None:
    before, count = outcomes(narrow), 4 * PLACES
    with ThreadPoolExecutor(count) as threads:
        responses = list(threads.map(lambda _: post(narrow, GREEN, path=FULL), range(count)))
    turned_away = [one for one in responses if one.status_code != 200]
    assert len(turned_away) > 0
    for one in turned_away:
        refused = problem(one, 503)
        assert (refused["type"], refused["retryable"]) == ("urn:offramp:error:overloaded", True)
        assert int(one.headers["retry-after"]) >= 1
    answered = count - len(turned_away)
    assert answered >= PLACES
    assert outcomes(narrow) - before == {"ok": answered, "rejected": len(turned_away)}


def test_accepted_work_is_answered_before_the_server_ends(start_server: StartServer, slow: Path) -> None:
    count = 8
    with ThreadPoolExecutor(count) as threads:
        with start_server("--models", str(slow), **{**ONE_BY_ONE, "OFFRAMP_MAX_IN_FLIGHT": "64"}) as url:
            waiting = [threads.submit(post, url, GREEN, path=FULL) for _ in range(count)]
            until(lambda: sum(one.done() for one in waiting) > 0)
            begun = count - sum(one.done() for one in waiting)
        # Left by SIGTERM; the context has seen exit code 0.
        assert begun > 0
        assert [answer(one.result())["exit"] for one in waiting] == ["last"] * count
