"""Many connections at once: every request exactly one answer, and metrics that add up to the answers."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StartServer
from tests.service.wire import FULL_MACS, PREDICT, RED, TIMEOUT_S, Scrape, answer, inputs, macs, noisy, problem

CONNECTIONS, REQUESTS = 64, 8
BUDGETS: list[dict[str, Any]] = [
    {},
    {"agreement": 1},
    {"agreement": 0.9},
    {"max_drop": 0.02, "latency_ms": 60_000},
    {"compute_mmacs": 1},
    {"compute_mmacs": 4, "priority": 0},
    {"latency_ms": 60_000, "priority": 7, "explain": True},
    {"latency_ms": 5},
    {"latency_ms": 0.001},
    {"latency_ms": 0.001, "on_miss": "fail"},
    {"latency_ms": 5, "on_miss": "fail"},
    {"accuracy": 0.9999},
    {"accuracy": 0.5},
]


@dataclass
class Tally:
    """What came back."""

    answers: list[dict[str, Any]] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    """Of inputs, not of requests: that is what the metrics count."""

    def add(self, response: httpx.Response) -> None:
        if response.status_code != 200:
            problem(response, response.status_code)
            self.statuses[response.status_code] += 1
            return
        shown = answer(response)
        found = shown.get("answers", [shown])
        self.answers += found
        self.statuses[200] += len(found)


@pytest.fixture(scope="module")
def served(start_server: StartServer, colours: Path) -> Iterator[str]:
    """A server of their own: its metrics begin at 0."""
    with start_server("--models", str(colours)) as url:
        yield url


async def _visitor(url: str, number: int, tally: Tally, files: list[bytes]) -> int:
    """One connection with one request after the other; returns how many came back."""
    done = 0
    async with httpx.AsyncClient(base_url=url, timeout=TIMEOUT_S, limits=httpx.Limits(max_connections=1)) as client:
        for turn in range(REQUESTS):
            budget = BUDGETS[(number + turn * 5) % len(BUDGETS)]
            file = files[(number * REQUESTS + turn) % len(files)]
            if turn == 3 and number % 8 == 0:
                response = await client.post(PREDICT, json={"inputs": inputs(file, RED, file)})
            elif turn == 5 and number % 8 == 1:
                response = await client.post(PREDICT, content=file[:40])
            else:
                response = await client.post(PREDICT, content=file, params=budget)
            tally.add(response)
            done += 1
    return done


async def _crowd(url: str, tally: Tally) -> list[int]:
    files, _ = noisy(40, seed=21)
    return await asyncio.gather(*(_visitor(url, number, tally, files) for number in range(CONNECTIONS)))


@pytest.fixture(scope="module")
def tally(served: str) -> Tally:
    """64 connections with mixed budgets, come and gone."""
    made = Tally()
    assert asyncio.run(_crowd(served, made)) == [REQUESTS] * CONNECTIONS
    return made


@pytest.fixture(scope="module")
def scrape(served: str, tally: Tally) -> Scrape:
    """The metrics afterwards."""
    return Scrape.of(served)


def test_every_request_got_one_answer(tally: Tally) -> None:
    multiple = 2 * CONNECTIONS // 8  # requests of three inputs
    assert sum(tally.statuses.values()) == CONNECTIONS * REQUESTS + multiple
    assert set(tally.statuses) <= {200, 400, 422, 503, 504}
    assert tally.statuses[400] == CONNECTIONS // 8
    assert tally.statuses[422] > 0
    assert tally.statuses[504] > 0
    assert tally.statuses[200] > CONNECTIONS * REQUESTS // 2


def test_macs_add_up_to_the_last(tally: Tally, scrape: Scrape) -> None:
    spent = sum(map(macs, tally.answers))
    assert scrape.total("offramp_request_compute_macs_sum") == spent
    assert scrape.total("offramp_request_compute_macs_count") == len(tally.answers)
    assert scrape.total("offramp_compute_macs_total") == spent
    assert scrape.total("offramp_saved_macs_total") == FULL_MACS * len(tally.answers) - spent


def test_macs_add_up_stage_by_stage(tally: Tally, scrape: Scrape) -> None:
    model = {"glance": 1_000_000, "look": 2_000_000, "stare": 5_000_000}
    runs = Counter(stage for one in tally.answers for stage in one["compute"]["stages"])
    counted = scrape.by("offramp_compute_macs_total", "stage")
    assert counted == {(stage,): runs[stage] * cost for stage, cost in model.items()}


def test_exits_add_up(tally: Tally, scrape: Scrape) -> None:
    exits = Counter((one["exit"], one["reason"]) for one in tally.answers)
    assert scrape.by("offramp_exits_total", "exit", "reason") == exits


def test_outcomes_add_up(tally: Tally, scrape: Scrape) -> None:
    outcomes = {name: scrape.total("offramp_requests_total", outcome=name) for name in ("rejected", "expired", "error")}
    answered = sum(scrape.total("offramp_requests_total", outcome=name) for name in ("ok", "degraded"))
    assert answered == len(tally.answers)
    refused = tally.statuses[400] + tally.statuses[422] + tally.statuses[503]
    assert outcomes == {"rejected": refused, "expired": tally.statuses[504], "error": 0}
    assert scrape.total("offramp_refused_total") == refused


def test_budgets_add_up(tally: Tally, scrape: Scrape) -> None:
    asked = [(kind, one["budget"]["met"]) for one in tally.answers for kind in one["budget"]["asked"]]
    kinds = {"latency_ms", "accuracy", "agreement", "max_drop", "compute_mmacs"}
    counted = Counter[str]()
    for (kind, _), value in scrape.by("offramp_budget_total", "budget", "met").items():
        counted[kind] += int(value)
    assert counted == Counter(kind for kind, _ in asked if kind in kinds)
    met = sum(all_met for all_met in (one["budget"]["met"] for one in tally.answers))
    assert scrape.total("offramp_requests_total", outcome="ok") <= met


def test_times_are_counted_once_an_answer(tally: Tally, scrape: Scrape) -> None:
    for name in ("offramp_request_duration_seconds", "offramp_queue_seconds", "offramp_request_device_seconds"):
        assert scrape.total(f"{name}_count") == len(tally.answers)
    device = sum(one["compute"]["device_ms"] for one in tally.answers) / 1e3
    assert scrape.total("offramp_request_device_seconds_sum") == pytest.approx(device, abs=1e-6 * len(tally.answers))
    rows = sum(len(one["compute"]["stages"]) for one in tally.answers)
    assert scrape.total("offramp_stage_rows_sum") >= rows
